CREATE TABLE tickets (
    id       INTEGER PRIMARY KEY,
    subject  TEXT    NOT NULL,
    body     TEXT    NOT NULL,
    status   TEXT    NOT NULL CHECK (status IN ('open', 'closed')),
    age_days INTEGER NOT NULL
);
INSERT INTO tickets (id, subject, body, status, age_days) VALUES
    (1,  'Cannot sign in',            'The reset mail never arrives at my address.',              'open',   2),
    (2,  'Invoice shows wrong VAT',   'Our March invoice lists 19 percent instead of 7.',         'open',   5),
    (3,  'Export stops half-way',     'The CSV export ends after 10,000 rows without an error.',  'open',   9),
    (4,  'Slow dashboard',            'The start page takes 12 seconds since Monday.',            'open',   14),
    (5,  'Typo on pricing page',      'It says "montly" under the team plan.',                    'closed', 21),
    (6,  'Please delete my account',  'I no longer use the product.',                             'open',   40),
    (7,  'API returns 502',           'About one request in fifty fails in the evening.',         'open',   75),
    (8,  'Feature: dark mode',        'My eyes would thank you.',                                 'open',   120),
    (9,  'Duplicate charge',          'We were charged twice in the same minute.',                'closed', 160),
    (10, 'Old browser not supported', 'The page stays blank on our kiosk machines.',              'open',   200),
    (11, 'Feature: import from Trello', 'We would move thirty boards.',                           'open',   380),
    (12, 'Broken link in the manual', 'Chapter 4 points to a page that is gone.',                 'open',   420);
