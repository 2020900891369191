"""What users call, and what puts their arguments in canonical form."""
