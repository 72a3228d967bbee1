-- Schema 4. What removed runs spent also by agent, by label and by day (UTC). Lines from before are of their
-- run's day.
ALTER TABLE spent ADD COLUMN day TEXT NOT NULL DEFAULT '';
ALTER TABLE spent ADD COLUMN agent TEXT;
ALTER TABLE spent ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE spent ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
UPDATE spent SET day = substr(created_at, 1, 10);
