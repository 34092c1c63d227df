// One command as a person writes it, and the message that it becomes.

public import AMQPMessage
import RoutingContract

/// A command to send: one line of a JSON Lines file, or what flags say.
///
/// The message it becomes is the plain form of the contract: headers `Command`, `RequestId`, `OrgId`, …, and the API's own
/// payload as the body. `raw` sends anything else, for showing what the worker makes of it.
public struct CommandSpec: Sendable, Hashable {
    public var message: Message
    /// The RequestId as written; `nil` where a raw message has none.
    public var requestID: String?
    public var routingKey: String?

    /// A command of the plain form.
    ///
    /// - Parameters:
    ///   - requestID: any text: what is wrong with it is for the worker to say.
    ///   - payload: the API's JSON, sent byte for byte.
    public init(
        kind: String, requestID: String, org: String?, context: String? = nil, contextType: String? = nil,
        issuedAt: FieldValue? = nil, deadline: FieldValue? = nil, payload: [UInt8]
    ) {
        var headers = FieldTable()
        headers["Command"] = .string(kind)
        headers["RequestId"] = .string(requestID)
        if let org { headers["OrgId"] = .string(org) }
        if let context { headers["AuthorizationContext"] = .string(context) }
        if let contextType { headers["AuthorizationContextType"] = .string(contextType) }
        if let issuedAt { headers["IssuedAt"] = issuedAt }
        if let deadline { headers["Deadline"] = deadline }
        message = Message(
            properties: MessageProperties(
                contentType: "application/json", headers: headers, deliveryMode: 2, type: kind),
            body: payload)
        self.requestID = requestID
    }

    /// Any message.
    public init(raw message: Message, requestID: String? = nil) {
        self.message = message
        self.requestID = requestID
    }
}

extension CommandSpec {
    /// The command with its conversation as routing key, as the exchange of partitions wants it.
    public var routedByConversation: CommandSpec {
        var routed = self
        routed.routingKey =
            (try? JSONScanner(maximumDepth: 512).scan(message.body))?.root["conversationIdentifier"]?.string ?? ""
        return routed
    }
}

/// Why a line is no command.
public struct CommandSpecError: Error, Sendable, Hashable, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }
}

extension CommandSpec {
    /// Reads one line of a JSON Lines file:
    /// `{"command": "route", "org": "acme", "requestId": "…", "payload": {…}}`, with `context`, `contextType`, `issuedAt`,
    /// `deadline` (RFC 3339 or epoch milliseconds), `correlationId`, `replyTo` where wanted; a missing `requestId` is made
    /// up. Or `{"raw": {"headers": {…}, "properties": {…}, "body": "…"}}`.
    ///
    /// - Throws: ``CommandSpecError`` that says what is wrong with the line.
    public init(line: [UInt8], using generator: inout some RandomNumberGenerator) throws(CommandSpecError) {
        let document: JSONDocument
        do { document = try JSONScanner(maximumDepth: 512).scan(line) } catch {
            throw CommandSpecError("not JSON: \(error)")
        }
        guard document.root.kind == .object else { throw CommandSpecError("a line holds one JSON object") }
        if let raw = document.root["raw"] {
            self = try CommandSpec(raw: raw)
            return
        }
        try Self.refuseUnknownMembers(
            of: document.root,
            known: [
                "command", "requestId", "org", "context", "contextType", "issuedAt", "deadline", "correlationId",
                "replyTo", "payload",
            ])
        guard let kind = try Self.text(document.root, "command") else {
            throw CommandSpecError("\"command\" is missing; give \"route\" or \"delete\"")
        }
        guard let payload = document.root["payload"] else {
            throw CommandSpecError("\"payload\" is missing; give the body of the API call as an object")
        }
        self.init(
            kind: kind,
            requestID: try Self.text(document.root, "requestId") ?? RequestID.random(using: &generator).description,
            org: try Self.text(document.root, "org"), context: try Self.text(document.root, "context"),
            contextType: try Self.text(document.root, "contextType"),
            issuedAt: try Self.time(document.root, "issuedAt"), deadline: try Self.time(document.root, "deadline"),
            payload: Array(payload.bytes))
        message.properties.correlationID = try Self.text(document.root, "correlationId")
        message.properties.replyTo = try Self.text(document.root, "replyTo")
    }

    private init(raw: JSONValue) throws(CommandSpecError) {
        try Self.refuseUnknownMembers(of: raw, known: ["headers", "properties", "body"])
        var properties = MessageProperties()
        raw["headers"]?.forEachMember { name, value in
            properties.headers.fields.append(.init(name, Self.fieldValue(value) ?? .void))
            return true
        }
        if let given = raw["properties"] {
            try Self.refuseUnknownMembers(
                of: given,
                known: [
                    "type", "messageId", "correlationId", "replyTo", "contentType", "contentEncoding", "expiration",
                    "userId", "appId", "timestamp",
                ])
            properties.type = try Self.text(given, "type")
            properties.messageID = try Self.text(given, "messageId")
            properties.correlationID = try Self.text(given, "correlationId")
            properties.replyTo = try Self.text(given, "replyTo")
            properties.contentType = try Self.text(given, "contentType")
            properties.contentEncoding = try Self.text(given, "contentEncoding")
            properties.expiration = try Self.text(given, "expiration")
            properties.userID = try Self.text(given, "userId")
            properties.appID = try Self.text(given, "appId")
            if let timestamp = given["timestamp"]?.unlessNull {
                guard let seconds = timestamp.integer.flatMap({ UInt64(exactly: $0) }) else {
                    throw CommandSpecError("\"timestamp\" must be a whole number of seconds since 1970")
                }
                properties.timestamp = seconds
            }
        }
        properties.deliveryMode = 2
        let requestID: String? =
            switch properties.headers["RequestId"] {
            case .string(let text): text
            default: properties.messageID
            }
        self.init(
            raw: Message(properties: properties, body: Array((try Self.text(raw, "body") ?? "").utf8)),
            requestID: requestID)
    }

    private static func text(_ object: JSONValue, _ name: StaticString) throws(CommandSpecError) -> String? {
        guard let value = object[name]?.unlessNull else { return nil }
        guard let text = value.string else { throw CommandSpecError("\"\(name)\" must be a string") }
        return text
    }

    private static func time(_ object: JSONValue, _ name: StaticString) throws(CommandSpecError) -> FieldValue? {
        guard let value = object[name]?.unlessNull else { return nil }
        guard value.kind != .boolean, let time = fieldValue(value) else {
            throw CommandSpecError("\"\(name)\" must be a time in RFC 3339, or milliseconds since 1970")
        }
        return time
    }

    private static func fieldValue(_ value: JSONValue) -> FieldValue? {
        if let text = value.string { return .string(text) }
        if let number = value.integer { return .int64(Int64(number)) }
        if let boolean = value.boolean { return .boolean(boolean) }
        return nil
    }

    private static func refuseUnknownMembers(of value: JSONValue, known: Set<String>) throws(CommandSpecError) {
        var unknown: String?
        value.forEachMember { name, _ in
            if !known.contains(name) { unknown = name }
            return unknown == nil
        }
        if let unknown {
            throw CommandSpecError("unknown member \"\(unknown)\"; known are \(known.sorted().joined(separator: ", "))")
        }
    }
}
