// The way in: from a message to a valid command, or to what can be said of an invalid one.

public import AMQPMessage

/// Decodes and validates commands: plain messages and CloudEvents 1.0, in binary and in structured form.
///
/// Each value is taken from the first of these that has it: plain header, CloudEvents attribute, property, default. What
/// is unusable where it stands makes the command invalid; the next place is not tried.
public struct CommandDecoder: Sendable {
    public let rules: DecodingRules
    public let orgs: OrgDirectory

    public init(rules: DecodingRules, orgs: OrgDirectory) {
        self.rules = rules
        self.orgs = orgs
    }

    /// Decodes one message. Ends for every message, whatever is in it, in work bounded by its size.
    ///
    /// - Parameters:
    ///   - routingKey: of the delivery; must be the conversation on queues of the partitioned topology.
    ///   - now: the time of receipt.
    /// - Returns: the command, or the first thing that is wrong together with all that is known nevertheless.
    public func decode(
        _ message: Message, routingKey: String, queue: QueueDefaults, now: Timestamp
    ) -> Result<RouteCommand, InvalidCommand> {
        var reading = CommandReading(rules: rules, orgs: orgs, message: message, queue: queue, now: now)
        return reading.read(routingKey: routingKey)
    }
}

/// One message on its way to a command. Reads on after an error, so that as much as possible is known of it.
private struct CommandReading {
    private let rules: DecodingRules
    private let orgs: OrgDirectory
    private let message: Message
    private let queue: QueueDefaults
    private let now: Timestamp

    private let plain: CommandAttributes
    private var event: CommandAttributes?
    private var payload: [UInt8]
    private var error: CommandError?

    private var kind: CommandKind?
    private var request: RequestID?
    private var org: OrgID?
    private var knownOrg: KnownOrg?
    private var context: String?
    private var contextType: String?
    private var reply = ReplyAddress()

    init(rules: DecodingRules, orgs: OrgDirectory, message: Message, queue: QueueDefaults, now: Timestamp) {
        self.rules = rules
        self.orgs = orgs
        self.message = message
        self.queue = queue
        self.now = now
        let headers = CommandHeaders(message.properties.headers)
        plain = headers.plain
        event = headers.event
        payload = message.body
    }

    mutating func read(routingKey: String) -> Result<RouteCommand, InvalidCommand> {
        openEvent()
        readReply()
        readKind()
        readRequest()
        readOrg()
        readContext()
        let issuedAt = readIssuedAt()
        let explicitDeadline = readTime(\.deadline, named: HeaderName.deadline, otherwise: .deadlineMalformed)
        let (replay, acceptsSecondEffect) = readReplay()
        let document = readBody()
        let conversation = document.flatMap { readConversation($0, routingKey: routingKey) }
        if let document, let kind {
            let rules = PayloadRules(kind: kind, isStrict: knownOrg?.validation == .strict)
            if let problem = rules.problem(in: document.root) { refuse(problem) }
        }

        guard error == nil, let kind, let request, let org, let knownOrg, let context, let document, let conversation
        else {
            let error = error ?? CommandError(.bodyMalformed, "the message is no command")
            return .failure(
                InvalidCommand(
                    error: error, kind: kind, request: request, org: org, conversation: conversation, reply: reply,
                    replay: replay))
        }
        let routingType = kind == .route ? document.root["routingType"]?.string : nil
        var deadline = explicitDeadline
        if deadline == nil, routingType == "Transfer" || routingType == "Conference" {
            // Salesforce gives the whole transfer 60 s, of which the route call may use only a part.
            deadline = (issuedAt ?? now) + (knownOrg.transferDeadline ?? rules.transferDeadline)
        }
        return .success(
            RouteCommand(
                key: CommandKey(org: org, kind: kind, request: request), context: context, contextType: contextType,
                conversation: conversation, routingType: routingType, payload: payload,
                fingerprint: Fingerprint(payload: document.canonical, context: context, contextType: contextType),
                reply: reply, issuedAt: issuedAt, deadline: deadline, replay: replay,
                acceptsSecondEffect: acceptsSecondEffect))
    }

    // MARK: Helpers

    private mutating func refuse(_ problem: CommandError) {
        if error == nil { error = problem }
    }

    /// The value of a plain header, else of an event's attribute.
    private func attribute(_ path: KeyPath<CommandAttributes, FieldValue?>) -> FieldValue? {
        plain[keyPath: path] ?? event?[keyPath: path]
    }

    /// Its text; refuses what is none.
    private mutating func text(
        of value: FieldValue, named name: String, otherwise reason: InvalidReason
    ) -> String? {
        if let text = value.text { return text }
        refuse(
            CommandError(
                reason, code: SalesforceCode.header, "\(name) is a \(value.typeName); send it as a string in UTF-8"))
        return nil
    }

    // MARK: Envelope

    /// Checks a CloudEvent in either form, and takes a structured one apart.
    private mutating func openEvent() {
        switch EventContentType(message.properties.contentType) {
        case .structured:
            payload = []
            guard let envelope = scan(message.body) else { return }
            do throws(EventProblem) {
                let structured = try StructuredEvent(envelope)
                payload = structured.payload
                event = structured.attributes
            } catch {
                refuse(CommandError(.cloudEventMalformed, error.message))
            }
        case .unsupported:
            refuse(
                CommandError(
                    .cloudEventMalformed,
                    "of CloudEvents only single events in JSON are understood: application/cloudevents+json"))
        case nil: break
        }
        do throws(EventProblem) {
            try event?.checkEvent()
        } catch {
            refuse(CommandError(.cloudEventMalformed, error.message))
        }
    }

    private mutating func readReply() {
        reply.trace = TraceContext(
            wellFormedIn: attribute(\.traceparent)?.text, tracestate: attribute(\.tracestate)?.text)
        if let correlationID = message.properties.correlationID {
            if correlationID.utf8.count <= 255 {
                reply.correlationID = correlationID
            } else {
                refuse(CommandError(.correlationIDTooLong, "correlation_id holds more than 255 bytes"))
            }
        }
        if let replyTo = message.properties.replyTo, !replyTo.isEmpty {
            if rules.allowsReply(to: replyTo) {
                reply.replyTo = replyTo
            } else {
                refuse(
                    CommandError(
                        .replyNotAllowed,
                        "reply_to \(replyTo.quoted) is no queue that answers may go to; "
                            + "use one of the allow-list, or leave it out for the results queue"))
            }
        }
        if let encoding = message.properties.contentEncoding, !encoding.isEmpty, !encoding.isSame(as: "identity"),
            !encoding.isSame(as: "utf-8"), !encoding.isSame(as: "utf8")
        {
            refuse(
                CommandError(
                    .contentEncodingUnsupported,
                    "content_encoding \(encoding.quoted) is not understood; send the body as plain UTF-8"))
        }
    }

    // MARK: Attributes

    private mutating func readKind() {
        if let value = plain.command {
            guard let name = text(of: value, named: HeaderName.command, otherwise: .commandUnknown) else { return }
            kind = CommandKind(rawValue: name)
            if kind == nil { refuseCommand("the header Command is \(name.quoted)") }
        } else if let value = event?.command {
            guard let name = text(of: value, named: "type of the event", otherwise: .commandUnknown) else { return }
            kind = CommandKind.allCases.first {
                name.utf8.suffix($0.rawValue.utf8.count + 1).elementsEqual(".\($0.rawValue)".utf8)
            }
            if kind == nil {
                refuse(
                    CommandError(
                        .commandUnknown, "type of the event is \(name.quoted); it must end in .route or .delete"))
            }
        } else if event == nil, let name = message.properties.type, !name.isEmpty {
            kind = CommandKind(rawValue: name)
            if kind == nil { refuseCommand("the property type is \(name.quoted)") }
        } else {
            refuse(
                CommandError(
                    .commandMissing,
                    "the message does not say what to do: set the property type or the header Command to route or delete"
                ))
        }
    }

    private mutating func refuseCommand(_ finding: String) {
        refuse(CommandError(.commandUnknown, finding + "; it must be route or delete"))
    }

    private mutating func readRequest() {
        let found: String
        if let value = attribute(\.request) {
            guard let text = text(of: value, named: HeaderName.requestID, otherwise: .requestIDMalformed) else {
                return
            }
            found = text
        } else if event == nil, let property = message.properties.messageID, !property.isEmpty {
            found = property
        } else {
            refuse(
                CommandError(
                    .requestIDMissing, code: SalesforceCode.header,
                    "the RequestId is missing: set the header RequestId or the property message_id to a UUID"))
            return
        }
        request = RequestID(found)
        if request == nil {
            refuse(
                CommandError(
                    .requestIDMalformed, code: SalesforceCode.header,
                    "the RequestId \(found.quoted) is no UUID of 36 characters; "
                        + "set the header RequestId or the property message_id to one"))
        }
    }

    private mutating func readOrg() {
        let name: String
        if let value = attribute(\.org) {
            guard let text = text(of: value, named: HeaderName.orgID, otherwise: .orgMalformed) else { return }
            name = text
        } else if let configured = queue.org {
            name = configured
        } else {
            refuse(
                CommandError(
                    .orgMissing, code: SalesforceCode.header,
                    "the header OrgId is missing, and this queue has no default org"))
            return
        }
        org = OrgID(name)
        guard let found = orgs.find(name) else {
            refuse(
                CommandError(
                    .orgUnknown, code: SalesforceCode.header,
                    "the org \(name.quoted) is not configured; use its id in 15 or 18 characters, or its alias"))
            return
        }
        org = found.id
        knownOrg = found
        if found.validation == .strict, name.utf8.count == 18, OrgID(name) != nil, !SalesforceID.isValid(name) {
            refuse(
                CommandError(
                    .orgMalformed, code: SalesforceCode.header,
                    "the last three characters of OrgId \(name.quoted) do not fit the others"))
        }
        guard
            queue.allowedOrgs.isEmpty || queue.allowedOrgs.contains(found.alias)
                || queue.allowedOrgs.contains(where: { OrgID($0) == found.id })
        else {
            refuse(CommandError(.orgNotAllowed, "the org \(name.quoted) may not use this queue"))
            return
        }
    }

    private mutating func readContext() {
        if let value = attribute(\.context) {
            context = headerText(of: value, named: HeaderName.context, otherwise: .contextMalformed)
        } else if let configured = queue.context ?? knownOrg?.defaultContext {
            context = headerText(of: .string(configured), named: HeaderName.context, otherwise: .contextMalformed)
        } else {
            refuse(
                CommandError(
                    .contextMissing, code: SalesforceCode.header,
                    "the header AuthorizationContext is missing, and the org has no default: "
                        + "set it to the developer name of the ConversationChannelDefinition"))
        }
        guard let value = attribute(\.contextType) else { return }
        contextType = headerText(of: value, named: HeaderName.contextType, otherwise: .contextTypeMalformed)
        if knownOrg?.validation == .strict, let contextType, !Self.contextTypes.contains(contextType) {
            refuse(
                CommandError(
                    .contextTypeMalformed, code: SalesforceCode.contextType,
                    "AuthorizationContextType \(contextType.quoted) is none of "
                        + Self.contextTypes.joined(separator: ", ")))
        }
    }

    private static let contextTypes = [
        "ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant",
    ]

    /// Text that becomes an HTTP header; refuses what must not.
    private mutating func headerText(
        of value: FieldValue, named name: String, otherwise reason: InvalidReason
    ) -> String? {
        guard let text = text(of: value, named: name, otherwise: reason) else { return nil }
        guard text.isHeaderSafe, text.utf8.count <= 255 else {
            refuse(
                CommandError(
                    reason, code: SalesforceCode.header,
                    "\(name) \(text.quoted) cannot be an HTTP header: use 1 to 255 visible ASCII characters"))
            return nil
        }
        return text
    }

    // MARK: Times and replay

    private mutating func readTime(
        _ path: KeyPath<CommandAttributes, FieldValue?>, named name: String, otherwise reason: InvalidReason
    ) -> Timestamp? {
        guard let value = attribute(path) else { return nil }
        let time: Timestamp? =
            if case .timestamp(let seconds) = value {
                Timestamp(amqp: seconds)
            } else if let milliseconds = value.integer {
                Timestamp(milliseconds: milliseconds)
            } else {
                value.text.flatMap(Timestamp.init(headerText:))
            }
        if time == nil {
            refuse(
                CommandError(
                    reason, "\(name) must be RFC 3339 (2026-03-01T12:00:00Z) or milliseconds since 1970-01-01"))
        }
        return time
    }

    private mutating func readIssuedAt() -> Timestamp? {
        var issuedAt = readTime(\.issuedAt, named: HeaderName.issuedAt, otherwise: .issuedAtMalformed)
        if issuedAt == nil, attribute(\.issuedAt) == nil {
            issuedAt = message.properties.timestamp.map(Timestamp.init(amqp:))
        }
        if let issuedAt, issuedAt > now + rules.futureTolerance {
            refuse(
                CommandError(
                    .issuedInFuture,
                    "the command was issued at \(issuedAt.rfc3339), which lies ahead of this worker's clock "
                        + "(\(now.rfc3339)); check the clocks, and that epoch times are in milliseconds"))
        }
        return issuedAt
    }

    private mutating func readReplay() -> (count: Int, acceptsSecondEffect: Bool) {
        guard rules.honoursReplay else { return (0, false) }
        var count = 0
        if let value = attribute(\.replay) {
            if let number = value.integer ?? value.text.flatMap({ Int64($0) }), (0...1_000_000).contains(number) {
                count = Int(number)
            } else {
                refuse(CommandError(.replayMalformed, "Replay must be a count from 0 to 1000000"))
            }
        }
        var accepts = false
        if let value = attribute(\.acceptDuplicate) {
            switch value {
            case .boolean(let flag): accepts = flag
            default:
                if let text = value.text, text.isSame(as: "true") || text.isSame(as: "false") {
                    accepts = text.isSame(as: "true")
                } else {
                    refuse(CommandError(.replayMalformed, "Accept-Duplicate must be true or false"))
                }
            }
        }
        return (count, accepts)
    }

    // MARK: Body

    /// The document, whatever it says; refuses what is none.
    private mutating func scan(_ body: [UInt8]) -> JSONDocument? {
        guard body.count <= rules.maximumBodyBytes else {
            refuse(
                CommandError(
                    .bodyTooLarge, "the body holds \(body.count) bytes; \(rules.maximumBodyBytes) are accepted"))
            return nil
        }
        guard !body.isEmpty else {
            refuse(
                CommandError(
                    .bodyMissing, code: SalesforceCode.bodyMissing,
                    "the body is empty: send the API's JSON payload as the body"))
            return nil
        }
        do throws(JSONError) {
            return try JSONScanner(maximumDepth: rules.maximumDepth).scan(body)
        } catch {
            refuse(CommandError(.bodyMalformed, "the body is not accepted as JSON: \(error)"))
            return nil
        }
    }

    private mutating func readBody() -> JSONDocument? {
        guard let document = scan(payload) else { return nil }
        guard document.root.kind == .object else {
            refuse(
                CommandError(
                    .bodyNotObject, code: SalesforceCode.parameters, "the payload must be a JSON object"))
            return nil
        }
        return document
    }

    private mutating func readConversation(_ document: JSONDocument, routingKey: String) -> String? {
        guard let value = PayloadRules.present(document.root["conversationIdentifier"]) else {
            refuse(
                CommandError(
                    .conversationMissing, code: SalesforceCode.conversationIdentifier,
                    "conversationIdentifier is missing: add it to the payload"))
            return nil
        }
        guard let text = value.string, !text.isEmpty, text.utf8.count <= 255,
            text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F })
        else {
            refuse(
                CommandError(
                    .conversationMalformed, code: SalesforceCode.conversationIdentifier,
                    "conversationIdentifier must be a string of 1 to 255 bytes without control characters"))
            return nil
        }
        if queue.routingKeyIsConversation, !text.utf8.elementsEqual(routingKey.utf8) {
            refuse(
                CommandError(
                    .routingKeyMismatch,
                    "the routing key \(routingKey.quoted) is not the conversationIdentifier; "
                        + "publish to the exchange with the conversationIdentifier as routing key"))
        }
        return text
    }
}
