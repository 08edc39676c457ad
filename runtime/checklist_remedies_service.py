"""Remedies of what fails on the session service's machine; see `checklist_remedies`."""

from runtime.bilingual import Both

SERVICE = {
    "database.usable.unwritable": Both(
        "No se puede escribir en {database}{said}\nEl usuario que ejecuta el servicio necesita leer"
        " y escribir: en SQLite, el archivo y su carpeta (ls -ld, df); en PostgreSQL, los permisos"
        " del usuario sobre las tablas, o para crearlas.",
        "{database} cannot be written{said}\nThe user that runs the service has to read and write:"
        " with SQLite, the file and its folder (ls -ld, df); with PostgreSQL, what the user may do"
        " with the tables, or to create them.",
    ),
    "database.usable.damaged": Both(
        "{database} está dañada{said}\nPara el servicio y restaura una copia, con su archivo -wal"
        " si lo tiene (docs/operations.md). No borres nada antes.",
        "{database} is damaged{said}\nStop the service and restore a backup, with its -wal file if"
        " it has one (docs/operations.md). Delete nothing before.",
    ),
    "database.usable.foreign": Both(
        "{database} es de otro programa. Elige otro archivo con DATABASE_URL.",
        "{database} is another program's. Choose another file with DATABASE_URL.",
    ),
    "database.usable.locked": Both(
        "Otro programa tiene bloqueada {database}. Ciérralo (fuser lo nombra) y repite.",
        "Another program has locked {database}. End it (fuser names it) and try again.",
    ),
    "database.usable.unreachable": Both(
        "No hay conexión con {database}{said}\n¿Está PostgreSQL en marcha y en ese servidor y"
        " puerto? Compruébalo: pg_isready -d DATABASE_URL.",
        "There is no connection to {database}{said}\nDoes PostgreSQL run, on that host and port?"
        " Try: pg_isready -d DATABASE_URL.",
    ),
    "database.usable.credentials": Both(
        "PostgreSQL no acepta el usuario o la contraseña de DATABASE_URL{said}\nLos signos de la"
        " contraseña que significan algo en una dirección van como %40, %2F, …",
        "PostgreSQL does not accept the user or the password in DATABASE_URL{said}\nCharacters of"
        " the password that mean something in an address are written as %40, %2F, …",
    ),
    "database.usable.no_database": Both(
        "PostgreSQL responde, pero esa base de datos no existe{said}\nCréala: CREATE DATABASE …"
        " ENCODING 'UTF8' (docs/postgresql.es.md).",
        "PostgreSQL answers, but there is no such database{said}\nCreate it: CREATE DATABASE …"
        " ENCODING 'UTF8' (docs/postgresql.md).",
    ),
    "database.usable.encoding": Both(
        "{database} no puede guardar cualquier texto: su codificación es otra{said}\nCrea una con"
        " ENCODING 'UTF8'.",
        "{database} cannot hold every text: its encoding is another{said}\nCreate one with ENCODING"
        " 'UTF8'.",
    ),
    "database.usable.read_only": Both(
        "{database} es de solo lectura, quizá una réplica. DATABASE_URL debe nombrar la primaria.",
        "{database} is read-only, perhaps a replica. DATABASE_URL has to name the primary.",
    ),
    "database.usable.unusable": Both(
        "El servicio no puede guardar nada en {database}: su registro («store failed») dice por"
        " qué. make doctor, en su máquina, también.",
        "The service can store nothing in {database}: its log (“store failed”) says why. So does"
        " make doctor on its machine.",
    ),
    "database.migrated.new": Both(
        "aún no hay tablas; se crean al arrancar", "no tables yet; they are made at the start"
    ),
    "database.migrated.older": Both(
        "{database} tiene el esquema {schema}; esta versión lo lleva al {known} al arrancar. Haz"
        " antes una copia (docs/operations.md): una versión anterior ya no la abrirá.",
        "{database} has schema {schema}; this release brings it to {known} at its start. Make a"
        " backup before (docs/operations.md): an earlier release will not open it any more.",
    ),
    "database.migrated.newer": Both(
        "{database} tiene el esquema {schema} y esta versión llega al {known}: la escribió una"
        " versión más nueva. Usa esa, o restaura una copia anterior.",
        "{database} has schema {schema}, this release knows {known}: a newer release has written"
        " it. Run that one, or restore a backup from before it.",
    ),
    "attachments.writable.unwritable": Both(
        "No se puede escribir en {folder}{said}\nDa permiso al usuario que ejecuta el servicio, o"
        " elige otra carpeta con CHATKIT_ATTACHMENTS_DIR.",
        "{folder} cannot be written{said}\nAllow it to the user that runs the service, or choose"
        " another folder with CHATKIT_ATTACHMENTS_DIR.",
    ),
    "disk.low": Both(
        "Quedan {megabytes} MiB donde está {folder}. Con el disco lleno no se guarda nada: libera"
        " espacio, o amplíalo.",
        "{megabytes} MiB are left where {folder} is. With a full disk nothing can be stored: free"
        " some space, or add to it.",
    ),
    "service.listen.taken": Both(
        "Otro programa usa {address}. Ciérralo (ss -ltnp lo nombra), o elige otro puerto con"
        " SESSION_SERVICE_LISTEN y el mismo en SESSION_SERVICE_TARGET.",
        "Another program uses {address}. End it (ss -ltnp names it), or choose another port with"
        " SESSION_SERVICE_LISTEN, and the same with SESSION_SERVICE_TARGET.",
    ),
    "service.listen.unhealthy": Both(
        "El servicio está en marcha en {address}, pero dice que no puede trabajar: suele ser la"
        " base de datos. Su registro («not ready») dice más.",
        "The service runs on {address}, but says that it cannot work: mostly because of the"
        " database. Its log (“not ready”) says more.",
    ),
}
