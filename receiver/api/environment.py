"""/api/apps/{app}/env: an app's environment variables. Secret values are write-only."""

from typing import Any

from jobs.errors import NotFoundError
from jobs.reads.apps import find_app
from jobs.reads.variables import variable_views
from jobs.reads.views import ImportedVariablesView, Page, SetVariableView, VariableView
from jobs.records.variables import set_variables, unset_variable
from jobs.rules.variables import NewValue, parse_env_file
from jobs.states import Role
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import VariableInput, VariablesInput

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/apps/{app}/env", needs=Role.ADMIN)
def list_variables(call: Call[Nothing]) -> Page[VariableView]:
    """List the app's variables, by name."""
    return Page[VariableView](items=_variables(call))


@ENDPOINTS.add("POST", "/api/apps/{app}/env", needs=Role.ADMIN)
def import_variables(call: Call[VariablesInput]) -> ImportedVariablesView:
    """Set every variable of a `.env` file; a mistake in any line, and none is set."""
    values = parse_env_file(call.given.text.get_secret_value())
    wanted = {name: NewValue(value, call.given.secret) for name, value in values.items()}
    with call.writing() as session:
        app = find_app(session, call.name())
        done = set_variables(session, app, wanted, call.actor, vault=call.runtime.vault)
    items = [view for view in _variables(call) if view.name in wanted]
    return ImportedVariablesView(items=items, notes=list(done.notes))


@ENDPOINTS.add("GET", "/api/apps/{app}/env/{variable}", needs=Role.ADMIN)
def show_variable(call: Call[Nothing]) -> VariableView:
    """Show one variable; the value of a secret one is not shown."""
    return _variable(call)


@ENDPOINTS.add("PUT", "/api/apps/{app}/env/{variable}", needs=Role.ADMIN)
def set_variable(call: Call[VariableInput]) -> SetVariableView:
    """Set a variable; it takes effect at the app's next deployment."""
    wanted = {_name(call): NewValue(call.given.value, call.given.secret)}
    with call.writing() as session:
        app = find_app(session, call.name())
        done = set_variables(session, app, wanted, call.actor, vault=call.runtime.vault)
    return SetVariableView(**dict(_variable(call)), notes=list(done.notes))


@ENDPOINTS.add("DELETE", "/api/apps/{app}/env/{variable}", needs=Role.ADMIN)
def unset_variable_of_app(call: Call[Nothing]) -> None:
    """Remove a variable; the app's container has it until the next deployment."""
    with call.writing() as session:
        unset_variable(session, find_app(session, call.name()), _name(call), call.actor)


def _variable(call: Call[Any]) -> VariableView:
    name = _name(call)
    found = next((view for view in _variables(call) if view.name == name), None)
    if found is None:
        raise NotFoundError(f"{call.name()} has no variable named {name[:200]!r}")
    return found


def _variables(call: Call[Any]) -> list[VariableView]:
    with call.reading() as session:
        return variable_views(session, find_app(session, call.name()), call.runtime.vault)


def _name(call: Call[Any]) -> str:
    return str(call.request.path_params["variable"])
