"""What others change while a settings page lies open: nothing of it is undone unseen."""

import json
from html import unescape

import pytest

from dashboard.app_fields import CONFIGURATION, DOMAINS
from jobs.states import Role
from tests.builders import SHA_A, SHA_B, WebRuntime, make_app, make_live, make_user
from tests.receiver.settings_forms import SETTINGS, Browser, change, problem, shown, tags, view

SECRET = "planted-and-never-to-be-seen-again"
ALL_BUT_TOKEN = [one.name for one in (*CONFIGURATION, DOMAINS)]


def test_fields_that_others_changed_meanwhile_keep_their_changes(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    form = shown(ada.page(SETTINGS))
    command = ("sh", "-c", "set -e\nexec web", "")
    paused = {"auto_deploy": False, "paused_reason": "rolled back to v1 by user:ada"}
    change(runtime, **paused, command=command, cpus=2.0)
    wrong = ada.refused(SETTINGS, "save", **form | {"memory_mb": "much"})
    assert "Saved." in ada.done(SETTINGS, "save", **shown(wrong) | {"memory_mb": "700"})
    after = view(runtime)
    assert (after.memory_mb, after.auto_deploy, after.cpus) == (700, False, 2.0)
    assert after.paused_reason == "rolled back to v1 by user:ada"
    assert after.command == command


def test_a_field_that_another_user_changed_too_needs_confirmation(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    typed = shown(ada.page(SETTINGS)) | {"memory_mb": "700", "command": "a\nb", "branch": "next"}
    del typed["auto_deploy"]
    change(runtime, memory_mb=256, command=["web", "two\nlines"], cpus=2.0, auto_deploy=False)
    html = ada.refused(SETTINGS, "save", 409, **typed)
    words = "by now, which somebody else has set meanwhile; save again to have it your way."
    assert problem(html, "memory_mb") == f"Is 256 {words}"
    assert unescape(problem(html, "command")) == f'Is web, "two\\nlines" {words}'
    assert not any(problem(html, field) for field in ("cpus", "auto_deploy", "branch"))
    assert (view(runtime).memory_mb, view(runtime).branch) == (256, "main")
    again = shown(html)
    assert {name: again.get(name) for name in typed if name != "drawn"} == {
        name: text for name, text in typed.items() if name != "drawn"
    }
    ada.done(SETTINGS, "save", **again)
    after = view(runtime)
    assert (after.memory_mb, after.command, after.branch) == (700, ("a", "b"), "next")
    assert (after.cpus, after.auto_deploy) == (2.0, False)


def test_saving_again_requires_that_the_user_saw_the_other_change(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    typed = shown(ada.page(SETTINGS)) | {"memory_mb": "700"}
    for present in (256, 128):
        change(runtime, memory_mb=present)
        html = ada.refused(SETTINGS, "save", 409, **typed)
        assert problem(html, "memory_mb").startswith(f"Is {present} by now")
        typed = shown(html)
    assert view(runtime).memory_mb == 128


def test_what_two_people_changed_alike_is_on_record_once(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    typed = shown(ada.page(SETTINGS)) | {"memory_mb": " 700"}
    del typed["auto_deploy"]
    change(runtime, memory_mb=700, auto_deploy=False, paused_reason="rolled back to v1")
    recorded = tags(runtime)
    ada.done(SETTINGS, "save", **typed)
    assert (tags(runtime), view(runtime).paused_reason) == (recorded, "rolled back to v1")


def test_a_rollback_meanwhile_stays_in_force(ada: Browser, web: None, runtime: WebRuntime) -> None:
    for sha in (SHA_A, SHA_B):
        make_live(runtime, commit_sha=sha)
    form = shown(ada.page(SETTINGS))
    headers = {"x-csrf-token": ada.csrf_token}
    assert ada.client.post("/api/apps/web/rollback", json={}, headers=headers).is_success
    paused = view(runtime).paused_reason
    ada.done(SETTINGS, "save", **form | {"memory_mb": "700"})
    after = view(runtime)
    assert (after.memory_mb, after.auto_deploy, after.paused_reason) == (700, False, paused)
    assert paused


def test_a_form_that_does_not_say_what_it_showed_changes_what_it_sends(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    form = shown(ada.page(SETTINGS))
    del form["drawn"]
    change(runtime, cpus=2.0)
    ada.done(SETTINGS, "save", **form | {"memory_mb": "700"})
    assert (view(runtime).memory_mb, view(runtime).cpus) == (700, None)


@pytest.mark.parametrize("drawn", ["", "{", "[]", '{"branch": 1}', "[" * 50_000])
def test_what_no_page_says_of_what_it_showed_changes_nothing(
    ada: Browser, web: None, runtime: WebRuntime, drawn: str
) -> None:
    answer = ada.send(SETTINGS, "save", branch="next", drawn=drawn or "\0")
    assert answer.status_code == 400
    assert "cannot be read" in answer.text
    assert view(runtime).branch == "main"


def test_domains_that_others_added_meanwhile_stay(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    address = f"{SETTINGS}/domains"
    form = shown(ada.page(address))
    other = {"domains": ["web.example.com"]}
    ada.client.patch("/api/apps/web", json=other, headers={"x-csrf-token": ada.csrf_token})
    ada.done(address, "save", **form)
    assert view(runtime).domains == ["web.example.com"]
    html = ada.refused(address, "save", 409, **form | {"domains": "www.example.com"})
    assert problem(html, "domains").startswith("Is web.example.com by now")
    assert shown(html)["domains"] == "www.example.com"
    ada.done(address, "save", **shown(html))
    assert view(runtime).domains == ["www.example.com"]


def test_what_a_form_says_it_showed_holds_no_secret(ada: Browser, runtime: WebRuntime) -> None:
    make_app(runtime, token=SECRET)
    for address in (SETTINGS, f"{SETTINGS}/domains"):
        html = ada.page(address)
        assert SECRET not in html
        assert json.loads(shown(html)["drawn"]).keys() <= {*ALL_BUT_TOKEN}


def test_a_role_that_another_admin_has_changed_meanwhile_is_not_changed_unseen(
    ada: Browser, runtime: WebRuntime
) -> None:
    make_user(runtime, name="bob", role=Role.VIEWER)
    html = ada.page("/users")
    form = html[html.index("<b>bob</b>") :].split("</form>")[0]
    stale = shown(form)
    assert stale["role"] == "viewer"
    headers = {"x-csrf-token": ada.csrf_token}
    ada.client.patch("/api/users/bob", json={"role": "admin"}, headers=headers)
    ada.done("/users", "change-user", name="bob", **stale)
    assert '<b>bob</b> <span class="tag">admin</span>' in ada.page("/users")
    html = ada.refused("/users", "change-user", 409, name="bob", **stale | {"role": "deployer"})
    assert problem(html, "role").startswith("Is “Admin: configures too” by now")
    again = shown(html[html.index("<b>bob</b>") :].split("</form>")[0])
    assert again["role"] == "deployer"
    html = ada.done("/users", "change-user", name="bob", **again)
    assert '<b>bob</b> <span class="tag">deployer</span>' in html
