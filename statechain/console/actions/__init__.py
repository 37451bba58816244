"""What operators do: every action is a POST of a form, needs its verb, and is logged with the user's name."""
