"""azsim."""
