"""Work on images by which training varies what a network sees, shared by all rooms."""
