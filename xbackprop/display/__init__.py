"""Pictures and pages for people, in one style."""
