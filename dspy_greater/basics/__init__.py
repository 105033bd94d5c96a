"""What several rooms share: checks of arguments, files written whole, messages and spans."""
