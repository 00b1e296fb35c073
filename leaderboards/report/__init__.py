"""The board as one offline HTML file: `page` puts together what `table`, `charts`, `explorer` and `cards` make."""
