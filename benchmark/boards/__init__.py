"""What reads records and answers: boards, comparisons, gates, pages."""
