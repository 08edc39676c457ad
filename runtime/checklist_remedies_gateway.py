"""Remedies of what fails at the gateway, or on its way to the service; see `checklist_remedies`."""

from runtime.bilingual import Both

GATEWAY = {
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
