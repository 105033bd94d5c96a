"""What tests share: tiny models, scripted ones, fakes, records, servers; no test stands here."""
