"""Pages and pictures for people who check masks by eye."""
