"""The competitions' scores, their bootstrap by study, and what a report shows of them."""
