// What goes back to a client, as bodies in the API's shapes.

import RoutingContract

struct Reply: Hashable, Sendable {
    private static let json = "application/json;charset=UTF-8"

    var status: Int
    var body: String
    var contentType: String
    var retryAfter: String?
    /// The API's error code in the body.
    var code: Int?

    init(
        status: Int, body: String, contentType: String = Self.json, retryAfter: String? = nil, code: Int? = nil
    ) {
        self.status = status
        self.body = body
        self.contentType = contentType
        self.retryAfter = retryAfter
        self.code = code
    }

    /// With an object as its body.
    init(status: Int, retryAfter: String? = nil, code: Int? = nil, _ members: (inout JSONWriter) -> Void) {
        var writer = JSONWriter(capacity: 256)
        writer.object(nil, members)
        self.init(
            status: status, body: String(decoding: writer.bytes, as: UTF8.self), retryAfter: retryAfter, code: code)
    }

    /// 202 for a route that created this routing.
    static func routed(_ number: UInt64, target: RouteCall.Target, correlation: String) -> Reply {
        Reply(status: 202) { json in
            json.field("success", true)
            json.field("psrId", RoutingBook.id(number))
            json.field("workItemId", RoutingBook.workItemID(number))
            json.field("routingCorrelationId", correlation)
            json.object("contextParamMap") { json in
                switch target {
                case .channelSetting: break
                case .flow(let id, let queue):
                    json.field("flowId", id)
                    json.field("queueId", queue)
                case .queue(let id): json.field("queueId", id)
                }
            }
        }
    }

    /// 202 for a delete. That one without anything to clear is told so is an assumption.
    static func cleared(_ count: Int) -> Reply {
        Reply(status: 202) { $0.field("success", count > 0) }
    }

    static func refused(_ refusal: Refusal) -> Reply {
        error(
            status: refusal.status, retryAfter: refusal.code == ErrorCatalog.rateLimit ? "1" : nil, code: refusal.code,
            message: refusal.message)
    }

    private static func error(status: Int, retryAfter: String?, code: Int?, message: String) -> Reply {
        Reply(status: status, retryAfter: retryAfter, code: code) { json in
            if let code { json.field("code", code) }
            json.field("message", message)
        }
    }

    /// An error of OAuth 2.0 (RFC 6749 §5.2).
    static func refused(_ refusal: OAuthRefusal, status: Int = 400, retryAfter: String? = nil) -> Reply {
        Reply(status: status, retryAfter: retryAfter) { json in
            json.field("error", refusal.error)
            json.field("error_description", refusal.description)
        }
    }

    /// The answer that a fault puts in place of the right one; `nil` where it only changes the right one, or sends none.
    static func replacement(by fault: Fault) -> Reply? {
        switch fault.action {
        case .status: return statusReply(fault)
        case .notJSON:
            return Reply(
                status: fault.status ?? 202, body: fault.body ?? "<html><body>Down for maintenance</body></html>",
                contentType: "text/html", retryAfter: fault.retryAfter)
        case .emptyBody: return Reply(status: fault.status ?? 202, body: "", retryAfter: fault.retryAfter)
        case .failure:
            let code = fault.code ?? 10058
            let message = fault.message ?? ErrorCatalog.entry(code).message
            return Reply(status: fault.status ?? 202, retryAfter: fault.retryAfter, code: code) { json in
                json.field("success", false)
                json.object("errors") { json in
                    json.field("errorMessage", message)
                    json.field("errorType", "ROUTING_ERROR")
                    json.field("apiErrorCode", String(code))
                }
            }
        case .latency, .reset, .close, .hang, .slowBody, .cutBody: return nil
        }
    }

    private static func statusReply(_ fault: Fault) -> Reply {
        let status = fault.status ?? fault.code.map { ErrorCatalog.entry($0).status } ?? 503
        // Statuses that are codes as well; of others without a code only the status tells.
        let code = fault.code ?? (status == 500 || status == ErrorCatalog.rateLimit ? status : nil)
        let message = fault.message ?? code.map { ErrorCatalog.entry($0).message } ?? "Fault on demand"
        if let body = fault.body {
            return Reply(status: status, body: body, retryAfter: fault.retryAfter, code: fault.code)
        }
        switch fault.match.endpoint {
        case .token:
            let error = OAuthRefusal(error: status == 400 ? "invalid_grant" : "server_error", description: message)
            return refused(error, status: status, retryAfter: fault.retryAfter)
        case .route: return error(status: status, retryAfter: fault.retryAfter, code: code, message: message)
        }
    }
}
