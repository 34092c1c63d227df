// All the paths of the sandbox.

import HTTPTypes
import Hummingbird
import Logging

struct SandboxRoutes {
    let state: StateBox
    let settings: SandboxSettings
    let logger: Logger

    var router: Router<SandboxContext> {
        let router = Router(context: SandboxContext.self)
        router.addMiddleware { Signpost() }
        let route = RouteEndpoint(state: state, settings: settings, logger: logger)
        let token = TokenEndpoint(state: state)
        let control = ControlEndpoints(state: state)

        router.get("/") { request, _ in
            Response(
                status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
                body: .init(
                    byteBuffer: ByteBuffer(string: WelcomePage.text(host: request.head.authority ?? "localhost"))))
        }
        router.post("/api/v1/route") { try await route.answer($0, $1, method: .post) }
        router.delete("/api/v1/route") { try await route.answer($0, $1, method: .delete) }
        for method in [HTTPRequest.Method.get, .put, .patch] {
            router.on("/api/v1/route", method: method) { _, _ -> Response in
                throw HTTPError(
                    .methodNotAllowed, headers: [.allow: "POST, DELETE"], message: "POST routes, DELETE clears")
            }
        }
        router.post("/services/oauth2/token") { try await token.answer($0, $1) }

        let sandbox = router.group("/sandbox")
        sandbox.get("health") { _, _ in try control.health() }
        sandbox.get("summary") { _, _ in try control.summary() }
        sandbox.get("ledger") { request, _ in try control.ledger(request) }
        sandbox.delete("ledger") { _, _ in control.resetLedger() }
        sandbox.get("effects") { request, _ in try control.effects(request) }
        sandbox.get("effects/:requestId") { _, context in
            try control.effects(of: try context.parameters.require("requestId"))
        }
        sandbox.get("psrs") { request, _ in try control.routings(request) }
        sandbox.post("psrs/accept") { request, _ in try control.acceptRoutings(request) }
        sandbox.delete("psrs") { _, _ in control.resetRoutings() }
        sandbox.get("faults") { _, _ in try control.faults() }
        sandbox.post("faults") { request, _ in try await control.addFaults(request) }
        sandbox.delete("faults") { _, _ in control.removeFaults() }
        sandbox.delete("faults/:id") { _, context in
            try control.removeFault(context.parameters.require("id", as: Int.self))
        }
        sandbox.delete("tokens") { request, _ in try control.revokeTokens(request) }
        return router
    }
}

/// Tells who takes a wrong turn where to look.
private struct Signpost: RouterMiddleware {
    @concurrent
    func handle(
        _ request: Request, context: SandboxContext,
        next: @concurrent (Request, SandboxContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as HTTPError where error.status == .notFound && error.body == nil {
            let words = "there is no \(request.method) \(request.uri.path) here; GET / lists what there is"
            return Reply(status: 404) { $0.object("error") { $0.field("message", words) } }.response
        }
    }
}
