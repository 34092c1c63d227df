"""Holds what goes over the wire against the sandbox's OpenAPI description, by openapi-core.

usage: openapi_check.py ask DESCRIPTION SANDBOX-URL CODE…
       openapi_check.py proxy DESCRIPTION SANDBOX-URL

"ask" makes requests of every kind, good and bad, and of every error CODE that the sandbox knows; it ends with a line of
figures, or with what did not fit. "proxy" listens on a free port of loopback, which its first line tells, passes every
request on to the sandbox, and says of each exchange, one JSON object a line, what does not fit.
"""

import base64
import copy
import http.client
import http.server
import json
import sys
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field

import yaml
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_schema_validator import OAS31Validator
from werkzeug.datastructures import Headers

ROUTE = "/api/v1/route"
TOKEN = "/services/oauth2/token"
ORG = "00DSB0000000001"
QUEUE = "00GSB0000000001"
FLOW = {"flowId": "300SB0000000001", "queueId": QUEUE}
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class Request:
    """A request as openapi-core wants to see it, and as it is sent."""

    host_url: str
    method: str
    path: str
    headers: dict
    body: bytes
    parameters: RequestParameters = field(init=False)

    def __post_init__(self):
        self.method = self.method.lower()
        self.parameters = RequestParameters(header=Headers(list(self.headers.items())))

    @property
    def content_type(self):
        return self.parameters.header.get("Content-Type", "")

    def send(self):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.host_url).netloc, timeout=60)
        try:
            connection.request(self.method.upper(), self.path, self.body, self.headers)
            response = connection.getresponse()
            return Response(response.status, Headers(response.getheaders()), response.read())
        finally:
            connection.close()


@dataclass
class Response:
    status_code: int
    headers: Headers
    data: bytes

    @property
    def content_type(self):
        return self.headers.get("Content-Type", "")


class Description:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
        # The description lets clients and services grow. Here a member that it does not name is a misspelt one.
        closed = copy.deepcopy(document)
        for schema in closed["components"]["schemas"].values():
            if "properties" in schema:
                schema.setdefault("additionalProperties", False)
        self.codes = set()
        for response in document["components"]["responses"].values():
            _, codes = response["content"]["application/json"]["schema"]["allOf"]
            self.codes.update(codes["properties"]["code"]["enum"])
        self.not_here = OAS31Validator(closed["components"]["schemas"]["NotHere"])
        OpenAPI.from_dict(document).check_spec()
        self.openapi = OpenAPI.from_dict(closed)

    def request_problems(self, request):
        return [explain(error) for error in self.openapi.iter_request_errors(request)]

    def response_problems(self, request, response):
        return [explain(error) for error in self.openapi.iter_response_errors(request, response)]


def explain(error):
    words = [f"{type(error).__name__}: {error}"]
    while error is not None:
        words += [inner.message for inner in getattr(error, "schema_errors", [])]
        error = error.__cause__
    return "; ".join(words)


def route(**members):
    return {"conversationIdentifier": str(uuid.uuid4()), "routingType": "Initial", **members}


def clear(**members):
    return {"conversationIdentifier": str(uuid.uuid4()), **members}


class Asker:
    def __init__(self, description, url):
        self.description = description
        self.url = url
        self.problems = []
        self.requests = self.refused_requests = self.refused_responses = 0

    def check(self, fits, what, *details):
        if not fits:
            self.problems.append(": ".join([what, *map(str, details)]))

    def request(self, method, body, changes={}, form=False):
        headers = {
            "Authorization": "Bearer any", "Content-Type": "application/json", "OrgId": ORG,
            "AuthorizationContext": "Partner1_Channel1", "RequestId": str(uuid.uuid4()),
        }
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if form:
            headers["Content-Type"] = "multipart/form-data; boundary=limit"
            head = '--limit\r\nContent-Disposition: form-data; name="json"\r\nContent-Type: application/json\r\n\r\n'
            data = head.encode() + data + b"\r\n--limit--\r\n"
        headers.update(changes)
        headers = {name: value for name, value in headers.items() if value is not None}
        return Request(self.url, method, ROUTE, headers, data)

    def token_request(self, **members):
        body = urllib.parse.urlencode(members).encode()
        return Request(self.url, "POST", TOKEN, {"Content-Type": "application/x-www-form-urlencoded"}, body)

    def ask(self, what, request, status, code=None, fits=True):
        """`fits`: whether the request does; the response always must. Without `status` the description says which one."""
        self.requests += 1
        response = request.send()
        problems = self.description.request_problems(request)
        if fits:
            self.check(not problems, f"{what}: the request", problems, request)
        else:
            self.check(problems, f"{what}: the request fits")
            self.refused_requests += 1
        problems = self.description.response_problems(request, response)
        self.check(not problems, f"{what}: the response", problems, response)
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = {}
        found = answer.get("error", answer.get("code"))
        expected = (status or response.status_code, code)
        self.check((response.status_code, found) == expected, f"{what}: the response is another", response)
        return response, answer

    def refuse_response(self, what, request, response):
        self.check(self.description.response_problems(request, response), f"{what}: the response fits")
        self.refused_responses += 1

    def control(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        request = Request(self.url, "DELETE" if body is None else "POST", path, headers, (body or "").encode())
        response = request.send()
        self.check(response.status_code < 300, path, response)

    def routes(self):
        targets = [None, {"queueId": QUEUE}, {"flow": FLOW}, {"flow": FLOW, "routingAttributes": {"language": "de"}}]
        for kind in ["Initial", "Transfer", "Conference"]:
            for target in targets:
                for form in [False, True]:
                    body = route(routingType=kind, **({"routingInfo": target} if target else {}))
                    _, answer = self.ask(f"{kind} {target}", self.request("POST", body, form=form), 202)
                    self.check(answer.get("success") is True, f"{kind} {target}", answer)
        for context in ["ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant"]:
            request = self.request("POST", route(), {"AuthorizationContextType": context})
            self.ask(context, request, 202)
        self.ask("an id of 18 characters", self.request("POST", route(), {"OrgId": "00D000000000001EAA"}), 202)

    def deletes(self):
        reasons = [None, "Unknown", "Unavailable", "Decline", "Cancel", "CANCEL"]
        for number, reason in enumerate(reasons):
            conversation = str(uuid.uuid4())
            self.ask("route", self.request("POST", route(conversationIdentifier=conversation)), 202)
            members = {"cancelReason": reason} if reason else {}
            for success in [True, False]:
                body = clear(conversationIdentifier=conversation, **members)
                what = f"delete {reason} {success}"
                _, answer = self.ask(what, self.request("DELETE", body, form=number % 2 == 1), 202)
                self.check(answer.get("success") is success, what, answer)

    def bad_requests(self):
        flow = {"flow": FLOW}
        headers = [
            ("Authorization", None, 401, 10004), ("OrgId", None, 400, 10016), ("OrgId", "00D1", 400, 10016),
            ("OrgId", "001SB0000000001", 400, 10016), ("AuthorizationContext", None, 400, 10016),
            ("AuthorizationContext", "Partner1-Channel1", 400, 10016), ("RequestId", None, 400, 10016),
            ("RequestId", "1", 400, 10016), ("AuthorizationContextType", "Channel", 400, 10093),
            ("Content-Type", "text/plain", 400, 10016),
        ]
        for name, value, status, code in headers:
            request = self.request("POST", route(), {name: value})
            self.ask(f"{name} {value}", request, status, code, fits=False)
        bodies = [
            (b"", 10100), (b"{", 10089), (b"[]", 10089), ({"routingType": "Initial"}, 10018),
            (route(conversationIdentifier=""), 10018), (route(conversationIdentifier=1), 10018),
            (route(conversationIdentifier="c" * 256), 10018), (clear(), 10089), (route(routingType="initial"), 10089),
            (route(routingInfo=[]), 10089), (route(routingInfo={}), 10030),
            (route(routingInfo={"queueId": QUEUE, **flow}), 10030), (route(routingInfo={"queueId": "001"}), 10032),
            (route(routingInfo={"flow": {"flowId": FLOW["flowId"]}}), 10024),
            (route(routingInfo={"flow": {"queueId": QUEUE}}), 10024),
            (route(routingInfo={"flow": {**FLOW, "flowId": QUEUE}}), 10024),
            (route(routingInfo={"flow": {**FLOW, "queueId": "001"}}), 10032),
            (route(routingInfo={**flow, "routingAttributes": {"a": "b" * 256}}), 10096),
            (route(routingInfo={**flow, "routingAttributes": {"a" * 256: "b"}}), 10096),
            (route(routingInfo={**flow, "routingAttributes": {"a": 1}}), 10089),
        ]
        for body, code in bodies:
            self.ask(f"POST {body}", self.request("POST", body), 400, code, fits=False)
        for body, code in [(b"", 10100), ({}, 10018), (clear(cancelReason="Bored"), 10089)]:
            self.ask(f"DELETE {body}", self.request("DELETE", body), 400, code, fits=False)
        self.ask("a form", self.request("POST", route(routingType="x"), form=True), 400, 10089, fits=False)
        self.ask("a misspelt member", self.request("POST", route(routinginfo={})), 202, fits=False)

    def faults(self, codes):
        self.check(self.description.codes == set(codes), "codes", self.description.codes ^ set(codes))
        for code in codes:
            for method, body in [("POST", route()), ("DELETE", clear())]:
                self.control("/sandbox/faults", f"{code}@x1")
                self.ask(f"fault {code}", self.request(method, body), None, code)
        for fault, status, code in [("503@x1", 503, None), ("failure@x1", 202, None), ("failure:10024@x1", 202, None)]:
            self.control("/sandbox/faults", fault)
            self.ask(fault, self.request("POST", route()), status, code)
        fault = {"action": "status", "status": 429, "retryAfter": "2", "next": 1}
        self.control("/sandbox/faults", json.dumps(fault))
        response, _ = self.ask("429", self.request("POST", route()), 429, 429)
        self.check(response.headers.get("Retry-After") == "2", "429: Retry-After", response)

    def faults_in_transit(self):
        slow = json.dumps({"action": "slow-body", "byteIntervalMs": 1, "next": 1})
        for fault in ["latency=20@x1", slow]:
            self.control("/sandbox/faults", fault)
            self.ask(fault, self.request("POST", route()), 202)
        body = clear()
        self.control("/sandbox/faults", "500-after@x1")
        self.ask("500-after", self.request("POST", {**body, "routingType": "Initial"}), 500, 500)
        _, answer = self.ask("what it did", self.request("DELETE", body), 202)
        self.check(answer.get("success") is True, "500-after had no effect", answer)
        # None of these is an answer, so there is nothing to describe; half a body must not pass for one.
        for fault in ["reset@x1", "close@x1", "reset-after@x1", "cut-body@x1"]:
            self.control("/sandbox/faults", fault)
            request = self.request("POST", route())
            try:
                self.check(False, f"{fault}: there is an answer", request.send())
            except http.client.IncompleteRead as cut:
                half = Response(202, Headers({"Content-Type": "application/json"}), cut.partial)
                self.refuse_response(fault, request, half)
            except (http.client.RemoteDisconnected, ConnectionResetError):
                self.check(not fault.startswith("cut"), f"{fault}: nothing came")

    def other_places(self):
        for method, path, status in [("GET", "/api/v2/route", 404), ("GET", ROUTE, 405), ("PUT", ROUTE, 405)]:
            response = Request(self.url, method, path, {}, b"").send()
            self.check(response.status_code == status, f"{method} {path}", response)
            errors = [error.message for error in self.description.not_here.iter_errors(json.loads(response.data))]
            self.check(not errors, f"{method} {path}", errors, response)
            self.check(status == 404 or response.headers.get("Allow") == "POST, DELETE", "Allow", response)
        self.check(not self.description.not_here.is_valid({"error": "no"}), "NotHere takes anything")

    def tokens(self):
        encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        claims = {"iss": "app", "sub": f"me@{ORG}", "aud": "https://login.salesforce.com", "exp": int(time.time()) + 180}
        jwt = lambda **changes: ".".join(
            map(encode, [b'{"alg":"RS256"}', json.dumps({**claims, **changes}).encode(), b"any"]))
        _, answer = self.ask("a token", self.token_request(grant_type=GRANT, assertion=jwt()), 200)
        bearer = {"Authorization": f"Bearer {answer.get('access_token')}"}
        self.ask("with the token", self.request("POST", route(), bearer), 202)
        other = {**bearer, "OrgId": "00DSB0000000002"}
        self.ask("with the token of another org", self.request("POST", route(), other), 403, 10005)
        self.control(f"/sandbox/tokens?org={ORG}")
        self.ask("with the revoked token", self.request("DELETE", clear(), bearer), 401, 10004)
        for changes, error in [({"exp": 1}, "invalid_grant"), ({"aud": "x"}, "invalid_grant"), ({"iss": ""}, "invalid_client")]:
            self.ask(f"{changes}", self.token_request(grant_type=GRANT, assertion=jwt(**changes)), 400, error)
        for members, error in [
            ({"assertion": jwt()}, "invalid_request"), ({"grant_type": GRANT}, "invalid_grant"),
            ({"grant_type": "password", "assertion": jwt()}, "unsupported_grant_type"),
        ]:
            self.ask(f"{error}", self.token_request(**members), 400, error, fits=False)

    def altered_responses(self):
        """What must not fit, or the whole check could not fail."""
        request = self.request("POST", route())
        response, answer = self.ask("route", request, 202)
        self.check(not self.description.response_problems(request, response), "the response before it is altered")
        changes = [
            {"success": "true"}, {"success": None}, {"psrId": 1}, {"psrId": "0JR"}, {"psrID": answer.get("psrId")},
            {"contextParamMap": {"queueId": 1}}, {"errors": {"apiErrorCode": 10024}}, {"routingCorrelationId": "r" * 241},
        ]
        for change in changes:
            data = json.dumps({**answer, **change}).encode()
            self.refuse_response(f"{change}", request, Response(202, response.headers, data))
        self.refuse_response("another status", request, Response(418, response.headers, response.data))
        error = json.dumps({"code": 10004, "message": "no"}).encode()
        self.refuse_response("a code of another status", request, Response(400, response.headers, error))
        for fault in ["not-json@x1", "empty-body@x1"]:
            self.control("/sandbox/faults", fault)
            self.refuse_response(fault, request, request.send())


def ask(description, url, codes):
    asker = Asker(description, url)
    asker.routes()
    asker.deletes()
    asker.bad_requests()
    asker.faults(codes)
    asker.faults_in_transit()
    asker.other_places()
    asker.tokens()
    asker.altered_responses()
    if asker.problems:
        sys.exit("\n".join(asker.problems))
    figures = {
        "requests": asker.requests, "refusedRequests": asker.refused_requests,
        "refusedResponses": asker.refused_responses,
    }
    print(json.dumps(figures))


def proxy(description, url):
    # Otherwise a line of one exchange may end up within that of another.
    turn = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(url, self.command, self.path, dict(self.headers.items()), body)
            response = request.send()
            report = {
                "method": self.command, "path": self.path, "requestId": self.headers.get("RequestId"),
                "form": request.content_type.split(";")[0], "status": response.status_code,
                "problems": description.request_problems(request) + description.response_problems(request, response),
            }
            with turn:
                print(json.dumps(report), flush=True)
            self.send_response_only(response.status_code)
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.data)))
            self.end_headers()
            self.wfile.write(response.data)

        do_POST = do_DELETE = pass_on

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    mode, path, url, *codes = sys.argv[1:]
    if mode == "ask":
        ask(Description(path), url, codes=[int(code) for code in codes])
    else:
        proxy(Description(path), url)
