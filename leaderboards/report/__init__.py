"""The board as one offline HTML file: `page` puts it together, `table`, `charts`, `explorer` and `cards` make its parts."""
