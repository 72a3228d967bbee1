"""What customers of a made-up label-printer company write: the texts behind `make_data.py`."""

GIVEN_NAMES = [
    "Amara", "Bjorn", "Chiara", "Deniz", "Elif", "Farid", "Grace", "Hana", "Ines", "Jonas", "Kofi",
    "Lena", "Mateo", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tomoko", "Ulla", "Viktor",
    "Wanjiru", "Xenia", "Yusuf", "Zofia",
]  # fmt: skip

FAMILY_NAMES = [
    "Adeyemi", "Bauer", "Costa", "Demir", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova", "Jansen",
    "Kowalska", "Larsen", "Moreau", "Nakamura", "Okafor", "Patel", "Quinn", "Rossi", "Silva", "Tanaka",
    "Usman", "Vargas", "Weber", "Yilmaz", "Zhang",
]  # fmt: skip

COMPANIES = ["bluepost", "cornerbooks", "fennel", "greatnorth", "harbourcafe", "kilnworks", "linden",
             "mapleandsons", "oldmill", "papertrail", "saltmarsh", "tidepool"]  # fmt: skip

OPENINGS = ["Hello,", "Hi team,", "Good morning,", "", "", "Dear support,"]
CLOSINGS = ["Thank you.", "Thanks in advance!", "", "", "Please reply soon.", "Best regards."]

FILLERS = {
    "month": ["January", "February", "March", "April", "May", "June", "September", "October"],
    "product": ["LP-2 printer", "LP-4 printer", "desktop app", "mobile app", "web editor"],
    "system": ["Windows 11", "macOS", "Ubuntu", "Android", "iPadOS"],
    "city": ["Leeds", "Porto", "Kisumu", "Gdansk", "Osaka", "Lyon", "Bergen"],
    "colour": ["black", "white", "blue"],
}

# queue -> [(subject, body)]
TICKETS = {
    "billing": [
        ("Charged twice for {month}", "my card was charged twice for the {month} invoice. Please refund one of the two payments."),
        ("Refund after cancelling", "I cancelled the plan in {month} and was billed again. I would like my money back."),
        ("VAT number on the invoice", "our accountant needs our VAT number on invoice {number}. Can you issue it again?"),
        ("Payment declined", "the payment for our plan was declined, but the bank says the card is fine."),
        ("Wrong price on the invoice", "invoice {number} shows the monthly price, although we pay for a whole year."),
        ("Discount is missing", "the discount you promised us in {month} is not on the bill."),
        ("Billed for too many seats", "we have {small} people and the invoice counts five more."),
        ("Change of card", "our card expires in {month}. Where do I enter the new payment card?"),
    ],
    "bug": [
        ("{product} crashes on export", "every time I press Export the {product} closes. I use {system}."),
        ("Search finds nothing", "since the last update the search of the {product} returns an empty page for every word."),
        ("Error when saving", "saving a template in the {product} gives error {number} and my changes are lost."),
        ("Labels are cut off", "the last {small} millimetres of each label are not printed by the {product}."),
        ("Very slow since the update", "the {product} takes a minute to open a file on {system}. It was instant before."),
        ("Barcode cannot be read", "the barcodes made in the {product} cannot be scanned any more. The lines run together."),
        ("Blank pages", "the {product} prints {small} blank labels before the first real one."),
        ("Wrong time on reports", "all times in the exported report are two hours off."),
    ],
    "access": [
        ("Cannot log in", "I reset my password, but the link in the mail has expired. I am locked out of my account."),
        ("Locked out after phone change", "I have a new phone and the two-factor codes no longer work."),
        ("No password mail", "I asked for a new password {small} times and no mail arrives."),
        ("Account of a former colleague", "our admin has left and nobody can sign in to the admin account."),
        ("Sign in with the company account", "signing in with our company account says that I have no permission."),
        ("Logged out every few minutes", "I must sign in again every few minutes on {system}."),
    ],
    "shipping": [
        ("Where is my parcel", "the tracking page has said 'in transit' for {small} days. When will order {number} arrive in {city}?"),
        ("Wrong item delivered", "I ordered the {colour} LP-4 and received a roll of paper. Order {number}."),
        ("Parcel was damaged", "the box of order {number} arrived wet and the printer does not start."),
        ("Change of address", "please deliver order {number} to our new office in {city}."),
        ("Two parcels, one order", "order {number} was delivered twice. How do I send one back?"),
        ("Delivery never came", "the courier says that order {number} was handed over in {city}. Nobody here has it."),
        ("Customs papers", "our order to {city} is held at customs because the invoice is missing."),
    ],
    "question": [
        ("How do I add a colleague", "is there a way to invite a colleague to my workspace in the {product}?"),
        ("Limits of the API", "how many requests a minute may we send to the API?"),
        ("Paper size", "which paper sizes does the {product} take? We need {small} mm."),
        ("Does it run on {system}", "does the {product} work on {system}? I could not find it in the manual."),
        ("Import from a spreadsheet", "can I import {small} columns from a spreadsheet and print them as labels?"),
        ("Dark theme", "does the {product} have a dark theme, and where do I turn it on?"),
    ],
}  # fmt: skip
