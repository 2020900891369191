"""The numbers behind the page, a file for each group of sections; each has `numbers`, which returns what the script reads as JSON."""
