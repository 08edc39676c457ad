"""Why a check did not pass, and what to do about it, in Spanish and English.

Keyed by a check's name and cause; `*` is any check. Of what has passed it is a remark on its line.
"""

from typing import NamedTuple


class Both(NamedTuple):
    """A text in each language; `{…}` is a detail of the check."""

    es: str
    en: str


EXPLANATIONS = {
    # Of any check.
    "*.after": Both("antes, «{check}»", "first, “{check}”"),
    "*.not_asked": Both(
        "Sin comprobar: no se ha preguntado fuera de esta máquina. Lo hace un administrador con"
        " POST /api/chatkit/checks, o make doctor.",
        "Not checked: nobody outside of this machine was asked. An administrator does so with"
        " POST /api/chatkit/checks, or make doctor.",
    ),
    "*.settings": Both(
        "Sin comprobar: antes hay que corregir las variables.",
        "Not checked: the variables have to be corrected first.",
    ),
    "*.malformed": Both(
        "Corrige en .env, o donde se definan (docs/configuration.es.md; lo que sigue está en"
        " inglés, como al arrancar):\n{problems}",
        "Correct in .env, or wherever they are set (docs/configuration.md):\n{problems}",
    ),
    "*.overridden": Both(
        "El entorno (shell, contenedor) tiene otro valor que .env, y gana: {settings}."
        " Si el de .env es el bueno: unset VARIABLE, y busca quién la exporta (~/.bashrc, ~/.zshrc,"
        " docker-compose.yml).",
        "The environment (shell, container) has another value than .env, and wins: {settings}."
        " If the one in .env is right: unset VARIABLE, and look for who exports it (~/.bashrc,"
        " ~/.zshrc, docker-compose.yml).",
    ),
    "*.running": Both("{address}, donde ya está en marcha", "{address}, where it runs already"),
    "*.impossible": Both(
        "No se puede escuchar en {address}{said}\nUsa una dirección de esta máquina, como"
        " 127.0.0.1, y un puerto a partir de 1024.",
        "It cannot listen on {address}{said}\nUse an address of this machine, such as 127.0.0.1,"
        " and a port from 1024 on.",
    ),
    # OpenAI.
    "openai.key.missing": Both(
        "Falta OPENAI_API_KEY. Crea una clave en https://platform.openai.com/api-keys, en el"
        " proyecto del workflow si lo hay, y ponla en .env: OPENAI_API_KEY=sk-…\nPara probar no"
        " hace falta: sin clave, make run usa un emulador incluido.",
        "OPENAI_API_KEY is missing. Make a key at https://platform.openai.com/api-keys, in the"
        " project of the workflow if there is one, and put it into .env: OPENAI_API_KEY=sk-…\nTo"
        " try things out none is needed: without a key, make run uses a built-in emulator.",
    ),
    "openai.key.malformed": Both(
        "OPENAI_API_KEY tiene espacios o letras que ninguna clave lleva: cópiala de nuevo, entera y"
        " sin comillas tipográficas.",
        "OPENAI_API_KEY has spaces or letters that no key has: copy it again, as a whole and"
        " without typographic quotes.",
    ),
    "openai.key.emulator": Both("la del emulador", "the emulator's"),
    "openai.reachable.unreachable": Both(
        "No hay conexión con {url}{said}\nComprueba la red, el DNS, el cortafuegos y"
        " OPENAI_BASE_URL; si se sale por un proxy, HTTPS_PROXY debe nombrarlo.",
        "There is no connection to {url}{said}\nCheck network, DNS, firewall and OPENAI_BASE_URL;"
        " where a proxy leads out, HTTPS_PROXY has to name it.",
    ),
    "openai.reachable.certificate": Both(
        "El certificado de {url} no es de confianza{said}\nUn proxy de empresa suele abrir el"
        " TLS: pon su autoridad en SSL_CERT_FILE. Si no lo hay, desconfía de la red.",
        "The certificate of {url} is not trusted{said}\nA company's proxy often opens TLS: put its"
        " authority into SSL_CERT_FILE. If there is none, distrust the network.",
    ),
    "openai.reachable.proxy": Both(
        "El proxy no deja pasar{said}\nRevisa HTTPS_PROXY (con usuario y contraseña, si los pide)"
        " y NO_PROXY.",
        "The proxy does not let us through{said}\nCheck HTTPS_PROXY (with user and password, where"
        " it wants them) and NO_PROXY.",
    ),
    "openai.reachable.timeout": Both(
        "{url} no ha respondido a tiempo{said}\nRepite; si sigue igual, mira"
        " https://status.openai.com y la red.",
        "{url} did not answer in time{said}\nTry again; if it stays like that, see"
        " https://status.openai.com and the network.",
    ),
    "openai.reachable.error": Both(
        "OpenAI tiene una avería (HTTP {status}){said}\nMira https://status.openai.com y repite"
        " más tarde: aquí no hay nada que arreglar.",
        "OpenAI is out of order (HTTP {status}){said}\nSee https://status.openai.com and try again"
        " later: there is nothing to mend here.",
    ),
    "openai.reachable.not_openai": Both(
        "Quien responde en {url} no es OpenAI (HTTP {status}). OPENAI_BASE_URL debe terminar como"
        " la de OpenAI, https://api.openai.com/v1; vacía, es esa.",
        "Who answers at {url} is not OpenAI (HTTP {status}). OPENAI_BASE_URL has to end as OpenAI's"
        " does, https://api.openai.com/v1; empty, it is that one.",
    ),
    "openai.reachable.not_http": Both(
        "Quien responde en {url} no habla HTTP{said}\nCorrige OPENAI_BASE_URL: ¿http en lugar de"
        " https, u otro puerto?",
        "Who answers at {url} does not speak HTTP{said}\nCorrect OPENAI_BASE_URL: http in place of"
        " https, or another port?",
    ),
    "openai.key_accepted.rejected": Both(
        "OpenAI no conoce la clave: está mal copiada, revocada, o es de otra cuenta. Compárala en"
        " https://platform.openai.com/api-keys. ¿La contradice una variable del shell?",
        "OpenAI does not know the key: it is miscopied, revoked, or of another account. Compare it"
        " at https://platform.openai.com/api-keys. Does a shell variable override it?",
    ),
    "openai.permission.missing": Both(
        "La clave existe, pero no puede usar ChatKit{said}\nEn"
        " https://platform.openai.com/api-keys dale permiso de escritura para ChatKit, o todos;"
        " y a su dueño, un papel en el proyecto que lo permita.",
        "The key exists, but may not use ChatKit{said}\nAt https://platform.openai.com/api-keys"
        " give it write permission for ChatKit, or all; and its owner a role in the project that"
        " allows it.",
    ),
    "openai.quota.exhausted": Both(
        "La cuenta no tiene saldo, o ha llegado a su límite de gasto:"
        " https://platform.openai.com/settings/organization/billing. Tarda unos minutos en valer.",
        "The account has no credit left, or has reached its spending limit:"
        " https://platform.openai.com/settings/organization/billing. It takes some minutes to"
        " count.",
    ),
    "openai.quota.rate_limited": Both(
        "La clave vale, pero ahora mismo OpenAI recibe demasiadas peticiones de la cuenta. Repite"
        " en un minuto; si es habitual, pide un límite mayor en"
        " https://platform.openai.com/settings/organization/limits.",
        "The key is good, but right now OpenAI gets too many requests of the account. Try again in"
        " a minute; if that is usual, ask for a higher limit at"
        " https://platform.openai.com/settings/organization/limits.",
    ),
    "workflow.configured.missing": Both(
        "Falta OPENAI_CHATKIT_WORKFLOW_ID. Copia el id del workflow (wf_…) de Agent Builder,"
        " «Publish», y ponlo en .env. Con CHATKIT_MODE=self_hosted no hace falta.",
        "OPENAI_CHATKIT_WORKFLOW_ID is missing. Copy the workflow's id (wf_…) from Agent Builder,"
        " “Publish”, and put it into .env. With CHATKIT_MODE=self_hosted none is needed.",
    ),
    "workflow.configured.malformed": Both(
        "OPENAI_CHATKIT_WORKFLOW_ID no tiene la forma wf_…: copia el id del workflow, no su nombre,"
        " ni su dirección, ni una clave.",
        "OPENAI_CHATKIT_WORKFLOW_ID is not of the form wf_…: copy the workflow's id, not its name,"
        " its address or a key.",
    ),
    "workflow.found.not_found": Both(
        "OpenAI no encuentra {workflow}. Por orden: ¿está en el mismo proyecto que la clave?"
        " ¿Contradice a .env una variable del shell? ¿Está publicado en Agent Builder?",
        "OpenAI does not find {workflow}. In this order: is it in the same project as the key?"
        " Does a shell variable override .env? Is it published in Agent Builder?",
    ),
    "workflow.found.closed": Both(
        "OpenAI no encuentra {workflow}: Agent Builder cerró el {closes}. Pon"
        " CHATKIT_MODE=self_hosted y reinicia; docs/migration.es.md dice qué hace falta.",
        "OpenAI does not find {workflow}: Agent Builder closed on {closes}. Set"
        " CHATKIT_MODE=self_hosted and restart; docs/migration.md says what that takes.",
    ),
    "workflow.found.refused": Both(
        "OpenAI rechaza la petición (HTTP {status}){said}\nLo que dice señala la causa; el"
        " workflow puede estar sin publicar o sin terminar.",
        "OpenAI refuses the request (HTTP {status}){said}\nWhat it says points to the cause; the"
        " workflow may be unpublished or unfinished.",
    ),
    "workflow.project.untold": Both(
        "No se puede saber: para OpenAI, «en otro proyecto» y «en ninguno» es la misma respuesta."
        " Abre https://platform.openai.com/agent-builder, elige arriba a la izquierda el proyecto"
        " de la clave (en https://platform.openai.com/api-keys, columna «Project») y busca el"
        " workflow. Si no está ahí, haz una clave en el proyecto donde esté.",
        "It cannot be told: to OpenAI, “in another project” and “in none” is the same answer. Open"
        " https://platform.openai.com/agent-builder, choose the project of the key at the top left"
        " (at https://platform.openai.com/api-keys, column “Project”) and look for the workflow."
        " If it is not there, make a key in the project where it is.",
    ),
    "agent_builder.emulator": Both("el emulador no se acaba", "the emulator has no end"),
    "agent_builder.closing": Both(
        "OpenAI lo cierra el {closes} (días que quedan: {days}), y con él los workflows. Prepara"
        " CHATKIT_MODE=self_hosted: docs/migration.es.md. Pruébalo ya: make run MODE=self_hosted.",
        "OpenAI closes it on {closes} (days left: {days}), and with it the workflows. Prepare"
        " CHATKIT_MODE=self_hosted: docs/migration.md. Try it now: make run MODE=self_hosted.",
    ),
    "agent_builder.closed": Both(
        "OpenAI lo cerró el {closes}, y con él los workflows. Pon CHATKIT_MODE=self_hosted y"
        " reinicia; docs/migration.es.md dice qué hace falta.",
        "OpenAI closed it on {closes}, and with it the workflows. Set CHATKIT_MODE=self_hosted and"
        " restart; docs/migration.md says what that takes.",
    ),
    "model.found.not_found": Both(
        "OpenAI no ofrece el modelo {model} a esta clave. Corrige CHATKIT_MODEL, o permite el"
        " modelo al proyecto de la clave: «Limits», «Model usage».",
        "OpenAI does not offer the model {model} to this key. Correct CHATKIT_MODEL, or allow the"
        " model to the project of the key: “Limits”, “Model usage”.",
    ),
    "model.found.unreadable": Both(
        "No se sabe: la clave no puede consultar modelos{said}\nQuizá pueda usarlos: haz una"
        " pregunta. Si falla, en https://platform.openai.com/api-keys permítele «Models» y"
        " «Model capabilities».",
        "It cannot be told: the key may not look at models{said}\nPerhaps it may use them: ask a"
        " question. If that fails, allow it “Models” and “Model capabilities” at"
        " https://platform.openai.com/api-keys.",
    ),
    "model.found.refused": Both(
        "OpenAI rechaza la consulta del modelo (HTTP {status}){said}",
        "OpenAI refuses to tell about the model (HTTP {status}){said}",
    ),
    "model.found.own_agent": Both(
        "Sin comprobar: el modelo lo elige tu agente (CHATKIT_AGENT).",
        "Not checked: your own agent (CHATKIT_AGENT) chooses the model.",
    ),
    "clock.fast": Both(
        "Este reloj va {seconds} s adelantado respecto al de OpenAI: los tokens caducan antes y los"
        " enlaces firmados fallan. Sincronízalo (NTP: timedatectl set-ntp true).",
        "This clock is {seconds} s ahead of OpenAI's: tokens expire early and signed links fail."
        " Synchronise it (NTP: timedatectl set-ntp true).",
    ),
    "clock.slow": Both(
        "Este reloj va {seconds} s retrasado respecto al de OpenAI: los tokens recién hechos"
        " parecen del futuro y los caducados valen. Sincronízalo (NTP: timedatectl set-ntp true).",
        "This clock is {seconds} s behind OpenAI's: new tokens seem to be from the future, and"
        " expired ones are taken. Synchronise it (NTP: timedatectl set-ntp true).",
    ),
    "clock.unknown": Both(
        "Sin comprobar: OpenAI no ha dicho la hora.",
        "Not checked: OpenAI did not tell the time.",
    ),
    # Database and disk.
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
    # The gateway.
    "gateway.tokens.missing": Both(
        "Falta JWT_SECRET: el secreto con que tu dashboard firma los tokens de sus usuarios"
        " (HS256). Ponlo en .env; o, en JWT_JWKS_URL, dónde están las claves públicas de quien los"
        " firma.\nPara probar no hace falta: make run inventa uno en cada arranque.",
        "JWT_SECRET is missing: the secret with which your dashboard signs the tokens of its users"
        " (HS256). Put it into .env; or, into JWT_JWKS_URL, where the signer's public keys are.\nTo"
        " try things out none is needed: make run makes one for each start.",
    ),
    "gateway.tokens.short": Both(
        "JWT_SECRET tiene {bytes} bytes: quien capture un token puede adivinarlo y hacerse pasar"
        " por cualquiera. Usa 32 al azar o más, también en el dashboard: openssl rand -hex 32.",
        "JWT_SECRET has {bytes} bytes: whoever sees one token can guess it, and be anybody. Use 32"
        " random ones or more, in the dashboard, too: openssl rand -hex 32.",
    ),
    "gateway.jwt_keys.unreachable": Both(
        "No se pueden leer las claves públicas en {url}{said}\nSin ellas, nadie entra. Comprueba"
        " JWT_JWKS_URL y la red: curl la dirección desde esta máquina.",
        "The public keys at {url} cannot be read{said}\nWithout them nobody gets in. Check"
        " JWT_JWKS_URL and the network: curl the address from this machine.",
    ),
    "gateway.jwt_keys.unusable": Both(
        "En {url} no hay claves que valgan{said}\nJWT_JWKS_URL debe nombrar un JSON Web Key Set con"
        " claves RSA (2048 bits o más) o EC para firmar; suele acabar en /jwks.json.",
        "There are no keys of use at {url}{said}\nJWT_JWKS_URL has to name a JSON Web Key Set with"
        " RSA (2048 bits or more) or EC keys for signatures; it mostly ends in /jwks.json.",
    ),
    "gateway.claims.unbound": Both(
        "Sin JWT_AUDIENCE entra cualquier token del mismo emisor, también los de sus otras"
        " aplicaciones. Pon JWT_AUDIENCE (y JWT_ISSUER) tal como vienen en los tokens: aud, iss.",
        "Without JWT_AUDIENCE any token of the same issuer gets in, its other applications', too."
        " Set JWT_AUDIENCE (and JWT_ISSUER) to what the tokens have as aud and iss.",
    ),
    "gateway.cors.none": Both(
        "Ninguna página de otro origen puede llamar. Si el dashboard no comparte dirección con el"
        " gateway, pon su origen: CORS_ALLOW_ORIGINS=https://dashboard.example.com",
        "No page of another origin may call. Unless the dashboard shares the gateway's address, set"
        " its origin: CORS_ALLOW_ORIGINS=https://dashboard.example.com",
    ),
    "gateway.cors.any": Both(
        "CORS_ALLOW_ORIGINS=* deja llamar a cualquier página. Pon solo los orígenes del dashboard.",
        "CORS_ALLOW_ORIGINS=* lets any page call. Name the dashboard's origins alone.",
    ),
    "gateway.cors.plain": Both(
        "Sin cifrar: {origins}. Quien esté en la red puede leer los tokens; usa https://.",
        "Not encrypted: {origins}. Whoever is on the network can read the tokens; use https://.",
    ),
    "gateway.public_url.plain": Both(
        "GATEWAY_PUBLIC_URL={url} no va cifrada: usa https://.",
        "GATEWAY_PUBLIC_URL={url} is not encrypted: use https://.",
    ),
    "gateway.public_url.missing": Both(
        "El dashboard está en {origin}, pero los enlaces a adjuntos empezarán por http:// y el"
        " navegador los bloquea. Pon GATEWAY_PUBLIC_URL=https://…, donde se llega al gateway.",
        "The dashboard is at {origin}, but links to attachments will begin with http://, and the"
        " browser blocks them. Set GATEWAY_PUBLIC_URL=https://…, where the gateway is reached.",
    ),
    "gateway.public_url.as_asked": Both("la que use el navegador", "whichever the browser uses"),
    "gateway.listen.taken": Both(
        "Otro programa usa {address}. Ciérralo (ss -ltnp lo nombra), o elige otro puerto con"
        " GATEWAY_LISTEN.",
        "Another program uses {address}. End it (ss -ltnp names it), or choose another port with"
        " GATEWAY_LISTEN.",
    ),
    "gateway.service.not_running": Both(
        "Sin comprobar: en {target} no hay nada en marcha. Arráncalo (make run, o python -m"
        " session_service) y repite.",
        "Not checked: nothing runs at {target}. Start it (make run, or python -m session_service)"
        " and try again.",
    ),
    "gateway.service.unreachable": Both(
        "Nadie responde en {target}{said}\n¿Está en marcha, y es SESSION_SERVICE_TARGET su"
        " dirección? ¿Hay un cortafuegos en medio?",
        "Nobody answers at {target}{said}\nDoes it run, and is SESSION_SERVICE_TARGET its address?"
        " Is there a firewall between?",
    ),
    "gateway.service.silent": Both(
        "El servicio de sesiones ({target}) no ha dicho cómo está ({reason}). ¿Está en marcha? Su"
        " registro y el del gateway («session service not reached») dicen más; make doctor, en esta"
        " máquina, también.",
        "The session service ({target}) has not told how it is ({reason}). Does it run? Its log and"
        " the gateway's (“session service not reached”) say more; so does make doctor on this"
        " machine.",
    ),
    "gateway.service.unencrypted": Both(
        "No hay quien hable gRPC sin cifrar en {target}{said}\nSi el servicio tiene"
        " SESSION_SERVICE_TLS_CERT, el gateway necesita SESSION_SERVICE_TLS_CA.",
        "Nobody speaks gRPC in the clear at {target}{said}\nIf the service has"
        " SESSION_SERVICE_TLS_CERT, the gateway needs SESSION_SERVICE_TLS_CA.",
    ),
    "gateway.service.certificate": Both(
        "No hay conexión cifrada con {target}{said}\nSESSION_SERVICE_TLS_CA debe ser la autoridad"
        " del certificado del servicio, y su nombre el de SESSION_SERVICE_TLS_SERVER_NAME o el de"
        " SESSION_SERVICE_TARGET; con SESSION_SERVICE_TLS_CLIENT_CA allí, aquí hace falta"
        " SESSION_SERVICE_TLS_CLIENT_CERT.",
        "There is no encrypted connection to {target}{said}\nSESSION_SERVICE_TLS_CA has to be the"
        " authority of the service's certificate, and the name in it that of"
        " SESSION_SERVICE_TLS_SERVER_NAME or SESSION_SERVICE_TARGET; with"
        " SESSION_SERVICE_TLS_CLIENT_CA there, SESSION_SERVICE_TLS_CLIENT_CERT is needed here.",
    ),
    "gateway.service.refused": Both(
        "{target} no conoce a este gateway: el primer token de SESSION_SERVICE_TOKEN debe estar"
        " también en el del servicio.",
        "{target} does not know this gateway: the first token of SESSION_SERVICE_TOKEN has to be in"
        " the service's, too.",
    ),
    "gateway.service.unwell": Both(
        "{target} responde, y dice que algo le falta: {checks}. En su máquina, python -m"
        " session_service doctor dice qué hacer. Si aquí ya está arreglado, reinícialo.",
        "{target} answers, and says that it lacks something: {checks}. On its machine, python -m"
        " session_service doctor says what to do. If that is mended here already, restart it.",
    ),
}
