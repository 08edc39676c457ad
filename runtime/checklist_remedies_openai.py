"""Remedies of what fails at OpenAI: key, workflow, model, clock; see `checklist_remedies`."""

from runtime.bilingual import Both

OPENAI = {
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
}
