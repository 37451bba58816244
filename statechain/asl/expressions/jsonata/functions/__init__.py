"""What an expression may call: `table` has every function, and the other files those that differ from the library's."""
