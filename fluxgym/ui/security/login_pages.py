"""The pages around the token: the login form, the page after a correct token, and the page that opens FluxGym without the Referer of another site."""

import html

STYLE = """
:root { color-scheme: light dark; font: 15px/24px system-ui, sans-serif; --line: #d5d8dd; --accent: #3b5bdb; --on: #fff; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --line: #454b55; --accent: #91a7ff; --on: #12151a; --bad: #ff9d94 } }
body { display: grid; place-items: center; min-height: 90vh; margin: 0; padding: 16px }
form, main { width: min(360px, 100%); display: grid; gap: 12px }
h1 { font-size: 20px; margin: 0 } p { margin: 0 } .bad { color: var(--bad) }
input, button { font: inherit; padding: 8px 12px; border-radius: 8px; border: 1px solid var(--line); width: 100%; box-sizing: border-box }
button { background: var(--accent); border-color: var(--accent); color: var(--on); font-weight: 600; cursor: pointer }
"""
# Opens the page once more from this page: with this page's Referer, and with the SameSite=Strict cookie.
RETRY = """
const key = "fluxgym.tried", from = document.referrer && new URL(document.referrer).origin;
if (from !== location.origin && !sessionStorage.getItem(key)) { sessionStorage.setItem(key, "1"); location.replace(location.href); }
"""
WITHOUT_QUERY = 'history.replaceState(null, "", location.pathname);'  # takes a wrong token out of the address bar and the history


def page(title: str, body: str, nonce: str, script: str = "") -> str:
    """Return a complete page with this body; the caller escapes user input in it."""
    tail = f'<script nonce="{nonce}">{script}</script>' if script else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style nonce="{nonce}">{STYLE}</style></head><body>{body}{tail}</body></html>'
    )


def login_page(action: str, complaint: str, nonce: str) -> str:
    """Return the login form.

    Browsers do not send a SameSite=Strict cookie after a click on another site's link, so without a complaint the page reloads itself once.
    """
    wrong = f'<p class="bad" role="alert">{html.escape(complaint)}</p>' if complaint else ""
    body = (
        f'<form method="post" action="{html.escape(action)}"><h1>FluxGym</h1>'
        "<p>Enter the token that you set for FluxGym, or that it printed in its terminal at startup.</p>"
        '<label for="token">Token</label><input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
        f"{wrong}<button>Open FluxGym</button></form>"
    )
    return page("FluxGym: token", body, nonce, WITHOUT_QUERY if complaint else RETRY)


def welcome_page(target: str, nonce: str) -> str:
    """Return the page after a correct token; its script opens target, so that the browser sends the SameSite=Strict cookie."""
    body = f'<p>Signed in. <a id="on" href="{html.escape(target)}">Open FluxGym</a></p>'
    return page("FluxGym", body, nonce, 'location.replace(document.getElementById("on").href);')


def reopen_page(target: str, sentence: str, nonce: str) -> str:
    """Return the page for a click on another site's link: it opens target itself once; if that was refused too, the message says why."""
    body = f'<main><h1>FluxGym</h1><p><a href="{html.escape(target)}">Open FluxGym</a></p><p>{html.escape(sentence)}</p></main>'
    return page("FluxGym", body, nonce, RETRY)


def own_policy(nonce: str) -> dict[str, str]:
    """Return the headers of these pages: their content security policy, and a Referer without path and query, which may hold a token."""
    rules = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    return {"Content-Security-Policy": rules, "Cache-Control": "no-store", "Referrer-Policy": "strict-origin"}
