"""A small language model, trained from scratch, whose reasoning follows its instruction."""
