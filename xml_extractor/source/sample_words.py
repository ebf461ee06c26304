"""Words that the synthetic loan applications are made of.

Every text is ready to stand in XML (``&`` written as ``&amp;``).  What the shipped contract keeps in a
varchar column (e-mail, codes) is within code page 1252; names, streets and notes are not.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Region(NamedTuple):
    """Names and places that go together."""

    country: str  # ISO 3166
    currency: str
    zone: str
    dial: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    streets: tuple[str, ...]
    cities: tuple[tuple[str, str, str], ...]  # city, state or province, postal code
    employers: tuple[str, ...]
    job_titles: tuple[str, ...]


REGIONS: Final = (
    Region(
        "US", "USD", "-05:00", "+1 212",
        ("Mary", "James", "Patricia", "Robert", "Jennifer", "Michael", "Linda", "David", "Sean", "Zoë"),
        ("Smith", "Johnson", "O'Neill", "Brown", "Miller", "Davis", "Garcia", "Wilson", "Van Buren", "Lee"),
        ("Main St.", "Oak Ave.", "Maple St.", "2nd Ave.", "Lakeview Dr.", "Sunset Blvd.", "Elm St."),
        (("Springfield", "IL", "62701"), ("Boston", "MA", "02108"), ("Portland", "OR", "97201"),
         ("Newark", "NJ", "07102"), ("Austin", "TX", "73301")),
        ("Smith &amp; Sons Hardware", "Acme Logistics Inc.", "Blue Ridge Dental", "AT&amp;T Services"),
        ("Account manager", "Nurse", "Forklift operator", "Teacher", "Software engineer"),
    ),
    Region(
        "FR", "EUR", "+01:00", "+33 1",
        ("Amélie", "François", "Éloïse", "Benoît", "Chloé", "Gaëtan", "Maëlle", "Rémi", "Inès", "Jérôme"),
        ("Lefèvre", "Müller", "D'Aubigné", "Garçon", "Hébert", "Lemaître", "Noël", "Saint-Exupéry",
         "Béranger"),
        ("rue de l'Église", "boulevard Saint-Michel", "allée des Chênes", "place du Général-de-Gaulle"),
        (("Orléans", "45", "45000"), ("Besançon", "25", "25000"), ("Nîmes", "30", "30000"),
         ("Bourg-en-Bresse", "01", "01000")),
        ("Boulangerie Pâtisserie Dupré", "Société Générale d'Électricité", "Crédit &amp; Conseil S.A.R.L."),
        ("Infirmière", "Ingénieur", "Maître d'hôtel", "Employé de bureau", "Président"),
    ),
    Region(
        "DE", "EUR", "+01:00", "+49 30",
        ("Jürgen", "Käthe", "Björn", "Günther", "Zoë", "Sören", "Anneliese", "Dörte", "Lukas", "Änne"),
        ("Müller", "Größe", "Weiß", "Schäfer", "Köhler", "Strauß", "von der Mühlen", "Öztürk", "Jäger"),
        ("Königsstraße", "Am Süßen Grund", "Fünfhausgasse", "Lindenweg", "Große Bleichen"),
        (("Köln", "NW", "50667"), ("München", "BY", "80331"), ("Dresden", "SN", "01067"),
         ("Görlitz", "SN", "02826")),
        ("Bäckerei Weiß GmbH &amp; Co. KG", "Süddeutsche Getriebewerke AG", "Möbelhaus Schäfer"),
        ("Geschäftsführerin", "Elektriker", "Bürokauffrau", "Krankenpfleger", "Tischler"),
    ),
    Region(
        "ES", "EUR", "+01:00", "+34 91",
        ("Íñigo", "José", "María", "Begoña", "Ángel", "Lucía", "Raúl", "Inés", "Martín", "Belén"),
        ("Núñez", "Ibáñez", "García Márquez", "Peña", "López", "Muñoz", "Güell", "Cortés", "Sáenz"),
        ("calle de Alcalá", "avenida de la Constitución", "paseo de la Castellana", "calle Ñuñoa"),
        (("A Coruña", "C", "15001"), ("Cádiz", "CA", "11001"), ("Logroño", "LO", "26001"),
         ("Málaga", "MA", "29001")),
        ("Panadería Núñez e Hijos", "Compañía Española de Seguros", "Peña &amp; Asociados"),
        ("Médica", "Albañil", "Diseñadora", "Técnico de mantenimiento", "Economista"),
    ),
    Region(
        "GR", "EUR", "+02:00", "+30 21",
        ("Γιώργος", "Ελένη", "Δημήτρης", "Μαρία", "Κωνσταντίνος", "Αθηνά", "Παναγιώτης", "Σοφία"),
        ("Παπαδόπουλος", "Γεωργίου", "Καραγιάννης", "Οικονόμου", "Αντωνίου", "Νικολάου"),
        ("Ερμού", "Λεωφόρος Βασιλίσσης Σοφίας", "Πανεπιστημίου", "Αριστοτέλους"),
        (("Αθήνα", "A1", "10552"), ("Θεσσαλονίκη", "B", "54622"), ("Πάτρα", "G", "26221")),
        ("Ναυτιλιακή Εταιρεία Αιγαίου", "Φούρνος Παπαδόπουλος", "Τεχνική Α.Ε."),
        ("Λογιστής", "Νοσοκόμα", "Μηχανικός", "Ναύτης", "Δασκάλα"),
    ),
    Region(
        "BG", "EUR", "+02:00", "+359 2",
        ("Иван", "Мария", "Георги", "Елена", "Александър", "Юлия", "Пётр", "Наталья", "Сергей"),
        ("Иванов", "Петрова", "Достоевски", "Щербаков", "Йорданова", "Кузнецов", "Соловьёва"),
        ("бул. Витоша", "ул. Шипка", "ул. Цар Асен", "бул. Княз Борис I"),
        (("София", "22", "1000"), ("Пловдив", "16", "4000"), ("Велико Търново", "04", "5000")),
        ("Хлебозавод «Витоша»", "Софийски университет", "Кораби и пристанища ООД"),
        ("Счетоводител", "Инженер", "Учителка", "Шофьор", "Лекар"),
    ),
    Region(
        "JP", "JPY", "+09:00", "+81 3",
        ("太郎", "花子", "健一", "美咲", "さくら", "翔太", "ユキ", "大輔"),
        ("佐藤", "鈴木", "高橋", "𠮷田", "渡邊", "伊藤", "髙橋", "小林"),
        ("銀座", "本町通り", "桜ヶ丘", "中央区日本橋"),
        (("東京", "13", "100-0001"), ("大阪", "27", "530-0001"), ("札幌", "01", "060-0001")),
        ("株式会社山田製作所", "東日本銀行", "ラーメン太郎"),
        ("会社員", "看護師", "エンジニア", "教師", "営業部長"),
    ),
    Region(
        "CN", "CNY", "+08:00", "+86 10",
        ("伟", "芳", "秀英", "敏", "静", "丽娜", "强", "磊"),
        ("王", "李", "张", "刘", "陈", "欧阳", "黄", "司马"),
        ("人民路", "中山大道", "解放街", "长安街"),
        (("北京", "11", "100000"), ("上海", "31", "200000"), ("成都", "51", "610000")),
        ("华夏贸易有限公司", "东方软件集团", "幸福面包店"),
        ("工程师", "会计", "护士", "司机", "经理"),
    ),
)  # fmt: skip

REGION_SHARES: Final = (0.45, 0.58, 0.71, 0.81, 0.87, 0.92, 0.96, 1.0)
"""Upper ends of the regions' shares: nearly half in ASCII, four in ten in Latin-1, the rest beyond it."""

EMAIL_NAMES: Final = (
    "m.smith", "j.doe", "contact", "anna.k", "p.lopez", "info", "b.weiss", "y.tanaka", "l.wang",
)  # fmt: skip
EMAIL_HOSTS: Final = ("example.com", "mail.example.org", "post.example.net", "Example.COM")

NOTES: Final = (
    "Applicant called to ask about the status of the application; told that documents are being reviewed.",
    "Payslips for the last three months received &amp; verified against the bank statements provided.",
    "Client demande un délai supplémentaire pour fournir le relevé d'identité bancaire.",
    "Kunde wünscht Rückruf wegen der Höhe der monatlichen Rate; Änderung der Laufzeit möglich.",
    "El solicitante enviará la última declaración de la renta mañana; pendiente de verificación.",
    "Ο πελάτης ζήτησε νέα προσφορά με χαμηλότερο επιτόκιο και μεγαλύτερη διάρκεια αποπληρωμής.",
    "Клиентът изпрати копие от договора за наем; адресът е потвърден от служителя.",
    "申請者より追加書類を受領しました。勤務先への在籍確認は完了しています。",
    "客户要求提前还款，已告知相关费用和流程。",
    "Very happy with the service 👍🏽 — will recommend us to family 👨‍👩‍👧 and friends 🎉",
    "Income below the branch's guideline (&lt; 2,500 a month); exception requested, see the memo of 3 May.",
    "<![CDATA[Imported from the old system: <b>urgent</b> & confidential; amounts < 1,000 not checked.]]>",
    "Appraisal ordered<!-- by phone -->, expected within the week; collateral is a used vehicle.",
    "Employer confirmed position and start date by telephone. No garnishments on record. Reference number "
    "noted in the file, and the contact's direct line was added for the annual review.",
)

DISCLOSURES: Final = (
    "The applicant certifies that all statements in this application are true and complete, and authorises "
    "the lender to verify them with employers, banks and credit bureaus for as long as the loan is open.",
    "Le demandeur reconnaît avoir reçu la fiche d'information européenne normalisée et dispose d'un délai "
    "de rétractation de quatorze jours à compter de l'acceptation de l'offre de crédit.",
    "Der Antragsteller willigt ein, dass personenbezogene Daten zum Zweck der Bonitätsprüfung verarbeitet "
    "und für die Dauer der gesetzlichen Aufbewahrungsfristen gespeichert werden.",
    "Joint applicants are jointly and severally liable. The annual percentage rate shown is an estimate; "
    "the final rate depends on the decision and may change until the contract is signed.",
)

REASONS: Final = (
    ("R01", "Debt to income ratio too high"),
    ("R02", "Insufficient credit history"),
    ("R03", "Recent delinquency reported"),
    ("R07", "Collateral value not sufficient"),
    ("R11", "Income could not be verified"),
    ("R12", "Length of employment"),
    ("R20", "Manual review: name differs on documents"),
)
