"""Semantic ids: tokenizers (item vector -> D codes), the trie over a catalogue's codes, decoding within it."""
