"""Tasks that people bring: intents of bank customers, entailment, and a facility's e-mails."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import dspy

Urgency = Literal["low", "medium", "high"]
Sentiment = Literal["negative", "neutral", "positive"]
Category = Literal[
    "cleaning_services_scheduling",
    "customer_feedback_and_complaints",
    "emergency_repair_services",
    "facility_management_issues",
    "general_inquiries",
    "quality_and_safety_concerns",
    "routine_maintenance_requests",
    "specialized_cleaning_services",
    "sustainability_and_environmental_practices",
    "training_and_support_requests",
]
CATEGORIES: tuple[str, ...] = Category.__args__  # type: ignore[attr-defined]

#: Of Banking77's 77 intents four groups of three that are easily taken for each other.
Intent = Literal[
    "card_arrival",
    "card_delivery_estimate",
    "lost_or_stolen_card",
    "pending_transfer",
    "transfer_timing",
    "transfer_not_received_by_recipient",
    "pending_top_up",
    "top_up_failed",
    "top_up_reverted",
    "declined_card_payment",
    "pending_card_payment",
    "reverted_card_payment?",
]
INTENTS: tuple[str, ...] = Intent.__args__  # type: ignore[attr-defined]

BANKING77_INSTRUCTION = (
    "Choose the intent of the customer's question. Pending means still under way, failed or "
    "declined means it never went through, reverted means the money came back."
)
SCONE_INSTRUCTION = (
    "Answer Yes only if the context makes the statement certain, minding what each not applies to; "
    "otherwise answer No."
)
FACILITY_INSTRUCTION = (
    "Read the customer's e-mail; say how urgent it is for them, how they feel about the company, "
    "and which kinds of request it makes."
)


def banking77() -> dspy.Module:
    """Return the program that names a query's intent."""
    fields: dict[str, tuple[Any, Any]] = {
        "query": (str, dspy.InputField()),
        "answer": (Intent, dspy.OutputField()),
    }
    return dspy.Predict(dspy.Signature(fields))


def scone() -> dspy.Module:
    """Return the program that answers whether a context entails a statement, as DSPy's tutorial."""
    fields: dict[str, tuple[Any, Any]] = {
        "context": (str, dspy.InputField()),
        "question": (str, dspy.InputField()),
        "answer": (str, dspy.OutputField(desc="Yes or No")),
    }
    return dspy.Predict(dspy.Signature(fields))


def facility() -> dspy.Module:
    """Return the program that tells urgency, sentiment and categories of an e-mail."""
    fields: dict[str, tuple[Any, Any]] = {
        "message": (str, dspy.InputField()),
        "urgency": (Urgency, dspy.OutputField()),
        "sentiment": (Sentiment, dspy.OutputField()),
        "categories": (list[Category], dspy.OutputField()),
    }
    return dspy.Predict(dspy.Signature(fields))


def same_intent(example: dspy.Example, prediction: Any) -> bool:
    """Say whether the intent is the published one."""
    return bool(getattr(prediction, "answer", None) == example.answer)


def facility_score(example: dspy.Example, prediction: Any) -> float:
    """Return the published score: the mean over urgency, sentiment and categories.

    Of the categories it is the part of the ten that are rightly there or rightly absent, as in
    DSPy's GEPA tutorial.
    """
    urgency = getattr(prediction, "urgency", None) == example.urgency
    sentiment = getattr(prediction, "sentiment", None) == example.sentiment
    found: Collection[str] | None = getattr(prediction, "categories", None)
    right = sum((c in found) == (c in example.categories) for c in CATEGORIES) if found else 0
    return (urgency + sentiment + right / len(CATEGORIES)) / 3
