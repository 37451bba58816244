"""What JSONata writes and reads by a picture string: numbers, integers, moments."""
