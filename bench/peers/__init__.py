"""Systems that users could have instead, each in a virtual environment of its own."""
