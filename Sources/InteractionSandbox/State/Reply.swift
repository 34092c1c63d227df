// What goes back to a client, as bodies in the API's shapes.

struct Reply: Hashable, Sendable {
    var status: Int
    var body: String
    var contentType = "application/json;charset=UTF-8"
    var retryAfter: String?

    /// 202 for a route that created this routing.
    static func routed(_ number: UInt64, target: RouteCall.Target, correlation: String) -> Reply {
        let context =
            switch target {
            case .channelSetting: ""
            case .flow(let id, let queue): "\"flowId\":\(id.jsonQuoted),\"queueId\":\(queue.jsonQuoted)"
            case .queue(let id): "\"queueId\":\(id.jsonQuoted)"
            }
        return Reply(
            status: 202,
            body: """
                {"success":true,"psrId":"\(RoutingBook.id(number))","workItemId":"\(RoutingBook.workItemID(number))",\
                "routingCorrelationId":"\(correlation)","contextParamMap":{\(context)}}
                """)
    }

    /// 202 for a delete. That one without anything to clear is told so is an assumption.
    static func cleared(_ count: Int) -> Reply {
        Reply(status: 202, body: count > 0 ? #"{"success":true}"# : #"{"success":false}"#)
    }

    static func refused(_ refusal: Refusal) -> Reply {
        Reply(
            status: refusal.status, body: #"{"code":\#(refusal.code),"message":\#(refusal.message.jsonQuoted)}"#,
            retryAfter: refusal.code == ErrorCatalog.rateLimit ? "1" : nil)
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
            return Reply(
                status: fault.status ?? 202,
                body: """
                    {"success":false,"errors":{"errorMessage":\(message.jsonQuoted),"errorType":"ROUTING_ERROR",\
                    "apiErrorCode":"\(code)"}}
                    """, retryAfter: fault.retryAfter)
        case .latency, .reset, .close, .hang, .slowBody, .cutBody: return nil
        }
    }

    private static func statusReply(_ fault: Fault) -> Reply {
        let status = fault.status ?? fault.code.map { ErrorCatalog.entry($0).status } ?? 503
        // Statuses that are codes as well; of others without a code only the status tells.
        let code = fault.code ?? (status == 500 || status == ErrorCatalog.rateLimit ? status : nil)
        let message = fault.message ?? code.map { ErrorCatalog.entry($0).message } ?? "Fault on demand"
        let error =
            fault.match.endpoint == .token
            ? #"{"error":"\#(status == 400 ? "invalid_grant" : "server_error")","error_description":\#(message.jsonQuoted)}"#
            : #"{\#(code.map { "\"code\":\($0)," } ?? "")"message":\#(message.jsonQuoted)}"#
        return Reply(status: status, body: fault.body ?? error, retryAfter: fault.retryAfter)
    }
}
