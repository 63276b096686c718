"""Names of people, in the scripts that they are written in."""

# ruff: noqa: RUF001 -- letters that look alike are what is wanted here

from dataclasses import dataclass

Name = tuple[str, str]
"""A name in Latin letters, and in its own script where that is another one (else empty)."""


@dataclass(frozen=True, slots=True)
class Culture:
    """Where a family's names come from, with what US Core asks about its members.

    `language` is a BCP 47 tag, `race` and `ethnicity` are codes of CDC Race & Ethnicity.
    """

    weight: int
    language: tuple[str, str]
    race: str
    ethnicity: str
    families: tuple[Name, ...]
    female: tuple[Name, ...]
    male: tuple[Name, ...]
    two_surnames: bool = False


RACES = {
    "2106-3": "White",
    "2054-5": "Black or African American",
    "2028-9": "Asian",
    "1002-5": "American Indian or Alaska Native",
    "2076-8": "Native Hawaiian or Other Pacific Islander",
}
ETHNICITIES = {"2186-5": "Not Hispanic or Latino", "2135-2": "Hispanic or Latino"}


def _names(text: str) -> tuple[Name, ...]:
    """Read `Wang=王 Li=李`; an underscore stands for a space."""
    pairs = (word.partition("=") for word in text.split())
    return tuple((latin.replace("_", " "), native.replace("_", " ")) for latin, _, native in pairs)


CULTURES: tuple[Culture, ...] = (
    Culture(
        30,
        ("en-US", "English (United States)"),
        "2106-3",
        "2186-5",
        _names(
            "Abbott Ashworth Barlow Bennett Calloway Carver Dalton Ellery Fairbanks Garrison Hale Hathaway Ingram Jarvis "
            "Kendall Lockwood Mercer Norwood O'Connor O'Neill Pemberton Quincy Radcliffe Sinclair Thatcher Underwood Vance "
            "Whitaker Yates St._John McAllister MacLeod Smith-Hughes Van_der_Berg",
        ),
        _names(
            "Abigail Beatrice Caroline Daphne Eleanor Florence Grace Harriet Imogen Josephine Lydia Margaret Nora Rosemary Zoë"
        ),
        _names(
            "Arthur Benedict Charles Duncan Edmund Frederick George Henry Isaac Jasper Leonard Malcolm Oliver Theodore Walter"
        ),
    ),
    Culture(
        20,
        ("es", "Spanish"),
        "2106-3",
        "2135-2",
        _names(
            "García Muñoz Núñez Peña Hernández Gutiérrez Ibáñez Castañeda Ordóñez Zúñiga Álvarez Domínguez Rodríguez Sánchez "
            "Velázquez Marín Ríos Quiñones Treviño Agüero",
        ),
        _names("María_José Lucía Sofía Inés Begoña Ángela Concepción Verónica Itzel Ximena Graciela Noemí"),
        _names("José Jesús Íñigo Andrés Martín Ángel Óscar Ramón Joaquín Héctor Raúl Efraín"),
        two_surnames=True,
    ),
    Culture(
        14,
        ("en-US", "English (United States)"),
        "2054-5",
        "2186-5",
        _names("Booker Dupree Freeman Gaines Hampton Jefferson Langston Mosley Pettigrew Randolph Tillman Washington Whitfield"),
        _names("Aaliyah Bernice Cora Denise Ebony Imani Jasmine Keisha Latoya Monique Naomi Tamika"),
        _names("Andre Cedric Darnell Elijah Jamal Isaiah Lamar Marcus Malik Reginald Terrence Xavier"),
    ),
    Culture(
        6,
        ("zh-Hans", "Chinese (Simplified)"),
        "2028-9",
        "2186-5",
        _names("Wang=王 Li=李 Zhang=张 Chen=陈 Ouyang=欧阳 Zhao=赵 Huang=黄 Xu=徐"),
        _names("Xiuying=秀英 Meiling=美玲 Yu=玉 Lan=兰 Jing=静 Xue=雪"),
        _names("Wei=伟 Jianguo=建国 Hao=浩 Ming=明 Jun=军 Bo=波"),
    ),
    Culture(
        5,
        ("vi", "Vietnamese"),
        "2028-9",
        "2186-5",
        _names("Nguyễn Trần Lê Phạm Đặng Huỳnh Võ Đỗ"),
        _names("Thị_Hồng Ngọc_Ánh Thùy_Dương Bích Hạnh Tuyết"),
        _names("Văn_Đức Quốc_Bảo Hữu_Phước Minh Tuấn Hùng"),
    ),
    Culture(
        4,
        ("ko", "Korean"),
        "2028-9",
        "2186-5",
        _names("Kim=김 Lee=이 Park=박 Choi=최 Jung=정 Namgung=남궁"),
        _names("Seo-yeon=서연 Ji-woo=지우 Min-ji=민지 Ha-eun=하은 Yu-jin=유진"),
        _names("Min-jun=민준 Do-yun=도윤 Ji-hoon=지훈 Hyun-woo=현우 Sung-min=성민"),
    ),
    Culture(
        4,
        ("ar", "Arabic"),
        "2106-3",
        "2186-5",
        _names("al-Masri=المصري Haddad=حداد Khalil=خليل Mansour=منصور Nasser=ناصر Abdullah=عبدالله"),
        _names("Layla=ليلى Fatima=فاطمة Amina=أمينة Nour=نور Salma=سلمى"),
        _names("Yusuf=يوسف Omar=عمر Tariq=طارق Karim=كريم Hassan=حسن"),
    ),
    Culture(
        4,
        ("ru", "Russian"),
        "2106-3",
        "2186-5",
        _names("Ivanenko=Иваненко Sokolov=Соколов Kuznets=Кузнец Belyaev=Беляев Shcherbak=Щербак"),
        _names("Yelena=Елена Olga=Ольга Svetlana=Светлана Lyudmila=Людмила Zoya=Зоя"),
        _names("Dmitri=Дмитрий Fyodor=Фёдор Yuri=Юрий Sergei=Сергей Artyom=Артём"),
    ),
    Culture(
        5,
        ("hi", "Hindi"),
        "2028-9",
        "2186-5",
        _names("Sharma=शर्मा Patel=पटेल Gupta=गुप्ता Reddy=रेड्डी Iyer=अय्यर Chatterjee=चटर्जी"),
        _names("Priya=प्रिया Ananya=अनन्या Lakshmi=लक्ष्मी Kavita=कविता Meera=मीरा"),
        _names("Arjun=अर्जुन Rahul=राहुल Vikram=विक्रम Sanjay=संजय Krishna=कृष्ण"),
    ),
    Culture(
        3,
        ("ja", "Japanese"),
        "2028-9",
        "2186-5",
        _names("Satō=佐藤 Suzuki=鈴木 Itō=伊藤 Ōno=大野 Kobayashi=小林 Saitō=齋藤"),
        _names("Yōko=陽子 Sakura=さくら Haruka=遥 Emi=恵美 Aoi=葵"),
        _names("Kenji=健二 Shō=翔 Tarō=太郎 Yūta=雄太 Ryū=龍"),
    ),
    Culture(
        3,
        ("el", "Greek"),
        "2106-3",
        "2186-5",
        _names("Papadopoulos=Παπαδόπουλος Georgiou=Γεωργίου Nikolaidis=Νικολαΐδης Stavrou=Σταύρου"),
        _names("Eleni=Ελένη Sophia=Σοφία Ioanna=Ιωάννα Despina=Δέσποινα"),
        _names("Giorgos=Γιώργος Kostas=Κώστας Dimitris=Δημήτρης Nikos=Νίκος"),
    ),
    Culture(
        5,
        ("de", "German"),
        "2106-3",
        "2186-5",
        _names("Müller Groß Schäfer Köhler Weiß Jäger Strauß Böttcher von_Bülow"),
        _names("Käthe Jürgen-Marie Anneliese Bärbel Ursula Heike"),
        _names("Jürgen Björn Günther Matthias Jörg Karl-Heinz"),
    ),
    Culture(
        4,
        ("pl", "Polish"),
        "2106-3",
        "2186-5",
        _names("Wójcik Łukasiewicz Żak Kowalczyk Dąbrowski Śliwa Gołębiewski"),
        _names("Małgorzata Agnieszka Łucja Zofia Bożena"),
        _names("Łukasz Paweł Stanisław Grzegorz Michał"),
    ),
    Culture(
        4,
        ("fr", "French"),
        "2106-3",
        "2186-5",
        _names("Lefèvre Béranger d'Aubigné Ça Gagné Noël L'Écuyer Maître Desrosières"),
        _names("Léa Héloïse Françoise Éléonore Anaïs Maëlys"),
        _names("François Loïc Jérôme Benoît Étienne Raphaël"),
    ),
    Culture(
        3,
        ("tr", "Turkish"),
        "2106-3",
        "2186-5",
        _names("Yılmaz Çelik Öztürk Şahin Güneş Işık"),
        _names("Ayşe Gülşen İpek Çiğdem Özlem"),
        _names("Oğuz İbrahim Çağrı Ümit Işıkhan"),
    ),
    Culture(
        2,
        ("haw", "Hawaiian"),
        "2076-8",
        "2186-5",
        _names("Kealoha Kahananui Kaʻahumanu Māhoe Nāone"),
        _names("Leilani Kēhaulani Nālani Pualani"),
        _names("Keoni Kaʻeo Makoa Kāne"),
    ),
    Culture(
        2,
        ("nv", "Navajo"),
        "1002-5",
        "2186-5",
        _names("Begay Tsosie Yazzie Benally Nez"),
        _names("Haseya Dezbah Shándíín Nizhoni"),
        _names("Ashkii Sani Hastiin Yanaba"),
    ),
    Culture(
        1,
        ("is", "Icelandic"),
        "2106-3",
        "2186-5",
        _names("Þorsteinsson Ægisson Guðmundsson Sigurðardóttir"),
        _names("Guðrún Sigríður Þóra Ásta"),
        _names("Björn Þór Ólafur Hrafn"),
    ),
)
