"""Chat templates of every temper, and none."""

from __future__ import annotations

from tests.support.tiny import CHATML

TURN = "<|im_start|>{{ m['role'] }}\n{{ %s }}<|im_end|>\n"
LOOP = "{%% for m in %s %%}%s{%% endfor %%}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

TEMPLATES: dict[str, str | None] = {
    "takes a system message": CHATML,
    "raises on a system message": (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        + LOOP % ("messages", TURN % "m['content']")
        + PROMPT
    ),
    "drops a system message": (
        LOOP % ("messages if m['role'] != 'system'", TURN % "m['content']") + PROMPT
    ),
    "trims": LOOP % ("messages", TURN % "m['content'] | trim") + PROMPT,
    "puts the system message into the user turn": (
        "{% if messages[0]['role'] == 'system' %}"
        "{% set head = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set head = '' %}{% set rest = messages %}"
        "{% endif %}{% for m in rest %}{% if m['role'] == 'user' %}"
        "[INST] {{ (head if loop.first else '') + m['content'] | trim }} [/INST]"
        "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
    ),
    "none": None,
}
