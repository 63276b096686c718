"""Places: cities with what an address and a clock need, streets, clinics, insurers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class City:
    """A city; `offset` is its standard time in hours from UTC, `summer` says whether it has daylight saving time."""

    name: str
    state: str
    zip: str
    area_code: str
    latitude: str
    longitude: str
    offset: int
    summer: bool = True


CITIES: tuple[City, ...] = (
    City("Boston", "MA", "021", "617", "42.3601", "-71.0589", -5),
    City("San Antonio", "TX", "782", "210", "29.4252", "-98.4946", -6),
    City("San Francisco", "CA", "941", "415", "37.7793", "-122.4193", -8),
    City("Chicago", "IL", "606", "312", "41.8756", "-87.6244", -6),
    City("San Juan", "PR", "009", "787", "18.4663", "-66.1057", -4, summer=False),
    City("Denver", "CO", "802", "303", "39.7392", "-104.9849", -7),
    City("Honolulu", "HI", "968", "808", "21.3045", "-157.8557", -10, summer=False),
    City("Cañon City", "CO", "812", "719", "38.4494", "-105.2253", -7),
    City("Minneapolis", "MN", "554", "612", "44.9773", "-93.2655", -6),
    City("Phoenix", "AZ", "850", "602", "33.4484", "-112.0741", -7, summer=False),
    City("Coeur d'Alene", "ID", "838", "208", "47.6743", "-116.7812", -8),
    City("New Orleans", "LA", "701", "504", "29.9499", "-90.0701", -6),
    City("Seattle", "WA", "981", "206", "47.6038", "-122.3301", -8),
    City("Anchorage", "AK", "995", "907", "61.2164", "-149.8949", -9),
    City("Española", "NM", "875", "505", "35.9911", "-106.0806", -7),
    City("Atlanta", "GA", "303", "404", "33.7490", "-84.3903", -5),
)

STREETS = (
    "Alder Street",
    "Beacon Hill Road",
    "Cañada Avenue",
    "Dolores Street",
    "Eucalyptus Way",
    "Foundry Lane",
    "Granada Court",
    "Harbor View Drive",
    "Indigo Terrace",
    "Juniper Street",
    "King's Row",
    "La Peña Boulevard",
    "Mill Pond Road",
    "North Star Avenue",
    "O'Farrell Street",
    "Pier 7",
    "Quarry Road",
    "Río Vista Drive",
    "St. Mary's Lane",
    "Tanner's Alley",
    "Upland Road",
    "Valley Forge Street",
    "Willow Bend",
    "1st Avenue",
    "22nd Street NW",
)

CLINICS = (
    "Community Health Center",
    "Family Medicine",
    "Primary Care Associates",
    "Neighborhood Clinic",
    "Women & Children's Clinic",
    "Riverside Medical Group",
)

INSURERS = (
    ("northlight", "Northlight Mutual Health", "EHCPOL", "extended healthcare"),
    ("evergreen", "Evergreen Health Cooperative", "EHCPOL", "extended healthcare"),
    ("statecare", "StateCare Public Plan", "PUBLICPOL", "public healthcare"),
)
