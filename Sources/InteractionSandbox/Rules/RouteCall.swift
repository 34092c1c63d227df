// What a request asks for, judged by the documented rules that hold for every org.

import RoutingContract

/// A request as it came, reduced to what the rules look at.
struct IncomingRequest: Sendable {
    enum Method: String, Sendable { case post = "POST", delete = "DELETE" }

    var method: Method
    var authorization: String?
    var org: String?
    var context: String?
    var contextType: String?
    var request: String?
    var contentType: String?
    /// Empty where `bodyIsTooLarge`.
    var body: [UInt8] = []
    var bodyBytes = 0
    var bodyIsTooLarge = false
    /// All headers but the token, one `name: value` a line.
    var headerLines = ""
}

/// The headers of a request, checked.
struct CallHeaders: Hashable, Sendable {
    var token: String
    var org: OrgID
    var context: String
    /// `ConversationChannelDefinition` where the request names none.
    var contextType: String
}

/// The body of a request, checked.
struct RouteCall: Hashable, Sendable {
    enum Target: Hashable, Sendable {
        case channelSetting
        case flow(id: String, fallbackQueue: String)
        case queue(id: String)
    }

    var conversation: String
    /// `nil` for a delete.
    var routingType: String?
    var target = Target.channelSetting
    var cancelReason: String?
}

/// A request with what can be said of it without knowing the org.
struct ParsedRequest: Sendable {
    var incoming: IncomingRequest
    var headers: Result<CallHeaders, Refusal>
    var call: Result<RouteCall, Refusal>
    /// As far as it could be read, even from a body that breaks other rules.
    var conversation: String?

    init(_ incoming: IncomingRequest, maximumAttributeCharacters: Int) {
        self.incoming = incoming
        headers = Result { () throws(Refusal) in try CallRules.headers(incoming) }
        do throws(Refusal) {
            let body = try CallRules.object(incoming)
            conversation = body["conversationIdentifier"]?.string
            call = Result { () throws(Refusal) in
                switch incoming.method {
                case .post: try CallRules.route(body, maximumAttributeCharacters: maximumAttributeCharacters)
                case .delete: try CallRules.clear(body)
                }
            }
        } catch {
            call = .failure(error)
        }
    }
}

enum CallRules {
    static let contextTypes: Set = [
        "ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant",
    ]
    static let routingTypes: Set = ["Initial", "Transfer", "Conference"]
    /// In lower case: the reference spells them in capitals, the OpenAPI description with a capital.
    static let cancelReasons: Set = ["unknown", "unavailable", "decline", "cancel"]
    /// Assumed; the documentation gives no bound.
    static let maximumConversationCharacters = 255

    static func headers(_ request: IncomingRequest) throws(Refusal) -> CallHeaders {
        // RFC 6750 §2.1; the scheme's name is case-insensitive (RFC 9110 §11.1).
        let credentials = request.authorization?.split(separator: " ", maxSplits: 1).map { $0.trimmed } ?? []
        guard credentials.count == 2, credentials[0].lowercased() == "bearer", !credentials[1].isEmpty else {
            throw Refusal(10004, "the header Authorization must be Bearer and a token")
        }
        let org = try present(request.org, "OrgId")
        guard let orgID = OrgID(org), SalesforceID.isValid(org, prefix: SalesforceID.org) else {
            throw Refusal(10016, "OrgId must be an org id of 15 or 18 characters, 00D…")
        }
        let context = try present(request.context, "AuthorizationContext")
        guard isDeveloperName(context) else {
            throw Refusal(10016, "AuthorizationContext must be a developer name")
        }
        guard RequestID(try present(request.request, "RequestId")) != nil else {
            throw Refusal(10016, "RequestId must be a UUID")
        }
        var contextType = "ConversationChannelDefinition"
        if request.method == .post, let given = request.contextType {
            guard contextTypes.contains(given) else { throw Refusal(10093, given) }
            contextType = given
        }
        if contextType == "ConversationChannelDefinition", !context.dropFirst().dropLast().contains("_") {
            throw Refusal(10001, "a ConversationChannelDefinition is named {prefix}_{name}")
        }
        return CallHeaders(token: credentials[1], org: orgID, context: context, contextType: contextType)
    }

    private static func present(_ value: String?, _ name: String) throws(Refusal) -> String {
        guard let value, !value.isEmpty else { throw Refusal(10016, "\(name) is missing") }
        return value
    }

    private static func isDeveloperName(_ text: String) -> Bool {
        text.utf8.count <= 255
            && text.unicodeScalars.allSatisfy {
                $0.isASCII && ($0.properties.isAlphabetic || "0"..."9" ~= $0 || $0 == "_")
            }
    }

    /// The JSON object in the body, of either form.
    static func object(_ request: IncomingRequest) throws(Refusal) -> JSONValue {
        guard !request.bodyIsTooLarge else { throw Refusal(10089, "the body is too large") }
        guard let contentType = request.contentType else { throw Refusal(10016, "Content-Type is missing") }
        guard !request.body.isEmpty else { throw Refusal(10100) }
        var json = request.body
        let (type, boundary) = MultipartForm.mediaType(contentType, parameter: "boundary")
        switch type {
        case "application/json": break
        case "multipart/form-data":
            switch MultipartForm.jsonPart(of: request.body, boundary: boundary ?? "") {
            case .success(let part): json = part
            case .failure(let problem): throw Refusal(10089, problem.reason)
            }
        default: throw Refusal(10016, "Content-Type must be application/json or multipart/form-data")
        }
        let root: JSONValue
        do throws(JSONError) {
            root = try JSONScanner().scan(json).root
        } catch {
            throw Refusal(10089, "the body is not valid JSON: \(error)")
        }
        guard root.kind == .object else { throw Refusal(10089, "the body is not a JSON object") }
        return root
    }

    static func route(
        _ body: JSONValue, maximumAttributeCharacters: Int
    ) throws(Refusal) -> RouteCall {
        let conversation = try conversation(body)
        guard let type = body["routingType"]?.string, routingTypes.contains(type) else {
            throw Refusal(10089, "routingType must be Initial, Transfer or Conference")
        }
        var call = RouteCall(conversation: conversation, routingType: type)
        if let info = body["routingInfo"]?.unlessNull {
            guard info.kind == .object else { throw Refusal(10089, "routingInfo must be an object") }
            try check(info["routingAttributes"], maximumCharacters: maximumAttributeCharacters)
            call.target = try target(info)
        }
        return call
    }

    static func clear(_ body: JSONValue) throws(Refusal) -> RouteCall {
        var call = RouteCall(conversation: try conversation(body))
        if let given = body["cancelReason"]?.unlessNull {
            guard let reason = given.string, cancelReasons.contains(reason.lowercased()) else {
                throw Refusal(10089, "cancelReason must be Unknown, Unavailable, Decline or Cancel")
            }
            call.cancelReason = reason
        }
        return call
    }

    private static func conversation(_ body: JSONValue) throws(Refusal) -> String {
        guard let text = body["conversationIdentifier"]?.string else {
            throw Refusal(10018, "a string is required")
        }
        guard !text.trimmed.isEmpty, text.count <= maximumConversationCharacters,
            text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else { throw Refusal(10018, "it is empty, too long or not printable") }
        return text
    }

    private static func check(_ attributes: JSONValue?, maximumCharacters: Int) throws(Refusal) {
        guard let attributes = attributes?.unlessNull else { return }
        guard attributes.kind == .object else { throw Refusal(10089, "routingAttributes must be an object of strings") }
        var refusal: Refusal?
        attributes.forEachMember { name, value in
            if let text = value.string {
                if max(name.count, text.count) > maximumCharacters { refusal = Refusal(10096, name) }
            } else {
                refusal = Refusal(10089, "the routing attribute \(name) is not a string")
            }
            return refusal == nil
        }
        if let refusal { throw refusal }
    }

    private static func target(_ info: JSONValue) throws(Refusal) -> RouteCall.Target {
        switch (info["flow"]?.unlessNull, info["queueId"]?.unlessNull) {
        case (.some, .some): throw Refusal(10030, "both are given")
        case (nil, nil): throw Refusal(10030, "routingInfo has neither")
        case (nil, let queue?): return .queue(id: try self.queue(queue))
        case (let flow?, nil):
            guard let id = flow["flowId"]?.string, let queue = flow["queueId"]?.unlessNull
            else { throw Refusal(10024) }
            guard SalesforceID.isValid(id, prefix: SalesforceID.flow) else {
                throw Refusal(10024, "flowId is no id of a flow (300…)")
            }
            return .flow(id: id, fallbackQueue: try self.queue(queue))
        }
    }

    private static func queue(_ value: JSONValue) throws(Refusal) -> String {
        guard let id = value.string, SalesforceID.isValid(id, prefix: SalesforceID.queue) else {
            throw Refusal(10032, "a queue id is 15 or 18 characters, 00G…")
        }
        return id
    }
}
