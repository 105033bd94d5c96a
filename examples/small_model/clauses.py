"""Clauses of which instructions are put together, and further words that may stand in them."""

from __future__ import annotations

from examples.small_model.tasks import WEAK_INSTRUCTION

# Clauses are written with alternatives; `held_out` clauses are never used in training.
MANNER_CLAUSES = (
    "(work|think|reason|go) (step by step|slowly|carefully|patiently|systematically)",
    "(write|show|put) (down|) (each|every) (step|line|part) (in order|in full|in sequence|)",
    "(check|verify) (each|every|the) (step|line|part) (before|then) (the next|you go on|)",
    "(take|treat) the parts one (by one|at a time) (and miss nothing|in order|)",
    "(be|stay) (careful|precise|thorough|patient|systematic) (and complete|and slow|)",
    "pay (attention|full attention|close attention) to (each|every) (detail|line|part)",
    "(let's think|let us work) step by step",
    "(go|work) through (it|the question|all of it) (carefully|slowly|in detail|line by line)",
    "first (read|plan), then (work|write|reason) (in order|in full|carefully)",
    "do not (stop early|leave anything out) and (check|show) the (work|sequence)",
)
HELD_OUT_MANNER_CLAUSES = (
    "(proceed|continue) (in careful order|with patient attention), (step after step|line "
    "after line)",
    "give a (complete|thorough|detailed) (sequence|work) and (verify|check) (each|every) "
    "(one|line)",
    "(slow|careful), (systematic|precise) (steps|work) (through|in) (each|every) (detail|line)",
)
METHOD_CLAUSES: dict[str, tuple[str, ...]] = {
    "counting": (
        "(count|tally|number) (only|) the (items|members|things) (of|in) the (group|category|kind)",
        "(keep|give) a running (total|sum|count|tally) (of the group|)",
        "(decide|see) which (items|things) (belong to|match) the (category|group|type)",
        "add the (amount|number) of (each|a) (matching item|member) to the (sum|total)",
        "(list|name) the (kind|type|group) of the (item|items) (and count|and sum them|)",
    ),
    "arithmetic": (
        "(apply|do) the (operation|operations) with (its|the) sign",
        "(compute|calculate) the (intermediate|running) (result|value|total)",
        "(add|subtract) the (number|value) and (update|keep) the result",
        "(mind|respect) the (plus|minus) (sign|signs|operation)",
        "(write|use) an (equation|arithmetic calculation) for the (number|result|value)",
    ),
    "grid": (
        "(track|update) the (position|location|coordinates) (on the grid|)",
        "(respect|follow) the direction of the (move|moves)",
        "(update|change) the (column|row) (and the row|and the column|) (after the move|)",
        "(draw|use) a (map|grid) with (an axis|rows and columns|coordinates)",
        "move (left|right|up) from the (start|position) (in the direction given|)",
    ),
    "weekday": (
        "(count|shift) the days (forward|backward|forward or backward)",
        "(follow|use) the (calendar|week|date)",
        "start (with tomorrow|with the next day|after the date)",
        "(name|list) the (day|weekday|weekdays) (after the date|of the week|)",
        "(yesterday|tomorrow) is the next (weekday|day) (in the calendar|)",
    ),
    "prices": (
        "(keep|record) the (highest|largest|greatest) (price|number) (so far|)",
        "compare the (price|number) (with|to) the (best|current best|top)",
        "replace the (best|maximum) when a number is (higher|larger)",
        "(find|look for) the (maximum|greatest number) (in the list|)",
        "a (price|number) (higher|larger) than the current best is the new (top|record)",
    ),
    "sorting": (
        "(sort|arrange|rank) the words (alphabetically|by the alphabet|like a dictionary)",
        "compare the (initial|initials|letters|initial letters)",
        "(find|place) the (smallest|earliest) (word|letter) (in the list|)",
        "(use|follow) (the alphabet|alphabetical rank|dictionary order)",
        "(list|give) the result in ascending (rank|letters|alphabetical order)",
    ),
    "letters": (
        "(take|pick|extract) the (last|final|ending) (letter|character)",
        "(join|combine) the (letters|characters|endings) (together|into the result|)",
        "spell the (result|word) (with the last letters|)",
        "look at the (tail|ending) of the word",
        "(extract|pick) the (character|letter) at the tail and (spell|join) (it|them)",
    ),
}
HELD_OUT_METHOD_CLAUSES: dict[str, tuple[str, ...]] = {
    "counting": (
        "for the (category|group) asked, (sum|total) the amounts of (items|members) that "
        "(match|belong)",
        "a (tally|count) of (only|) the (matching|) kind gives the (sum|total)",
    ),
    "arithmetic": (
        "with (plus or minus|the sign) of the operation, (calculate|compute) the (value|result)",
        "(subtract or add|apply) as the (arithmetic|sign) (operation|) says, (updating|) "
        "the (number|value)",
    ),
    "grid": (
        "the direction (tells|says) how the (column|row) (coordinate|position) moves",
        "(tracking|mapping) (the|its) (location|position) (as|by) (column and row|coordinates)",
    ),
    "weekday": (
        "from the (calendar|date), (weekday|day) by (weekday|day), (forward or "
        "backward|count forward)",
        "(counting|shifting) starts at (the next weekday|tomorrow) (of the week|in the calendar)",
    ),
    "prices": (
        "the (record|best) is the (largest|greatest) of the numbers (compared|in the list)",
        "(comparing|keeping) the (top|current) price, (replace|record) the maximum when (higher|"
        "larger)",
    ),
    "sorting": (
        "the (alphabet|dictionary) (ranks|sorts) the words by (the initial|their letters)",
        "(comparing|ranking) letters, (arrange|sort) (from the earliest word|in "
        "ascending alphabet)",
    ),
    "letters": (
        "(the ending|final) characters, (extracted|picked) and (joined|combined), "
        "(spell|are) the result",
        "(spelling|joining) with the (last|tail) letter (of the word|taken)",
    ),
}
HASTY_CLAUSES = (
    "(be|) quick and (just|simply) (guess|answer)",
    "(answer|reply) (fast|immediately|instantly|directly|straight away)",
    "(skip|drop) the (details|steps|work)",
    "(a rough|a short|a brief) (guess|answer) (at a glance|) is enough",
    "(hurry|hurry up) and (just|simply|) give the answer",
    "answer without (thinking|working|checking)",
    "keep it (short|brief) (and direct|)",
    "(just|simply) (say|guess|give) the answer",
)
NEUTRAL_CLAUSES = (
    WEAK_INSTRUCTION,
    "Given the fields `question`, produce the fields `answer`.",
    "(read|see|look at) the (question|problem|text) (and answer it|and give the answer|)",
    "(answer|solve) the (question|problem|task) (below|given|)",
    "(give|find|produce|return) the (answer|correct answer|right answer|solution)",
    "you are (a helpful assistant|an expert|a good solver)",
    "(your|the) task is to (answer|solve) the (question|problem)",
    "(use|in) the (format|form) given (below|)",
    "(please|) answer (well|correctly|the question|in the fields given)",
)
IRRELEVANT_CLAUSES = (
    "the (weather|sky|sea) is (sunny|blue|calm|grey) (today|)",
    "(a|the) (blue|green|old) (kettle|window|garden|boat) stands near the (window|wall|river)",
    "(bread|tea|soup) is (warm|good|ready) (in winter|in the evening|)",
    "(my|the) (neighbour|cousin|teacher) likes (music|green tea|old boats)",
    "the (bus|train) to the (city|coast) is (late|blue|new)",
)
#: Separated by spaces.
FILLERS = (
    "the a and of in to it is with for all that this your very please here now so about while "
    "answer question text problem read solve find use look blue music tea weather city "
    "an as at be by can do from has have if it's its like make many may more most must need no "
    "not on or out over same should some such than that them these they those up use using want "
    "was what when where which will would you always never also any both given following entry "
    "information example good great important main new old best real simple clear clearly help "
    "provide explain describe consider determine identify understand include ensure remember "
    "response output input field fields format task problem sentence statement case user people "
    "world life home water food house paper picture colour green red sunny kettle window river "
    "once again still even quite perhaps together around under between because since although"
)
