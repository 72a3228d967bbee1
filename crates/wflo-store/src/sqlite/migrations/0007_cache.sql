-- Schema 7. Calls that were answered from the cache, what they saved, and what the providers' own caches did.
-- What a prompt cache saved is below zero where more was written into it than came of that.
ALTER TABLE calls_by_hour ADD COLUMN hits               INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls_by_hour ADD COLUMN saved_nanos        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls_by_hour ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls_by_hour ADD COLUMN prompt_cache_nanos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spent ADD COLUMN hits               INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spent ADD COLUMN saved_nanos        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spent ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spent ADD COLUMN prompt_cache_nanos INTEGER NOT NULL DEFAULT 0;
