// The attributes of a command, each from the first place that has it: what, which, for whom, since when.

import AMQPMessage

extension CommandReading {
    mutating func readKind() {
        if let value = attributes.command {
            guard let name = text(of: value, named: HeaderName.command, otherwise: .commandUnknown, code: nil) else {
                return
            }
            kind = CommandKind(rawValue: name)
            if kind == nil { refuseCommand("the header Command is \(name.quoted)") }
        } else if let value = attributes.eventType {
            guard let name = text(of: value, named: "type of the event", otherwise: .commandUnknown, code: nil) else {
                return
            }
            kind = CommandKind.allCases.first {
                name.utf8.suffix($0.rawValue.utf8.count + 1).elementsEqual(".\($0.rawValue)".utf8)
            }
            if kind == nil {
                refuse(
                    CommandError(
                        .commandUnknown, "type of the event is \(name.quoted); it must end in .route or .delete"))
            }
        } else if !isEvent, let name = properties.type, !name.isEmpty {
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

    mutating func refuseCommand(_ finding: String) {
        refuse(CommandError(.commandUnknown, finding + "; it must be route or delete"))
    }

    mutating func readRequest() {
        let found: String
        if let value = attributes.request {
            guard let text = text(of: value, named: HeaderName.requestID, otherwise: .requestIDMalformed) else {
                return
            }
            found = text
        } else if !isEvent, let property = properties.messageID, !property.isEmpty {
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

    mutating func readOrg() {
        let name: String
        if let value = attributes.org {
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

    mutating func readContext() {
        if let value = attributes.context {
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
        guard let value = attributes.contextType else { return }
        contextType = headerText(of: value, named: HeaderName.contextType, otherwise: .contextTypeMalformed)
        if knownOrg?.validation == .strict, let contextType, !Self.contextTypes.contains(contextType) {
            refuse(
                CommandError(
                    .contextTypeMalformed, code: SalesforceCode.contextType,
                    "AuthorizationContextType \(contextType.quoted) is none of "
                        + Self.contextTypes.joined(separator: ", ")))
        }
    }

    static let contextTypes = [
        "ConversationChannelDefinition", "EmbeddedMessagingChannel", "ExternalConversationParticipant",
    ]

    /// Text that becomes an HTTP header; refuses what must not.
    mutating func headerText(
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

    mutating func readTime(
        _ value: FieldValue?, named name: String, otherwise reason: InvalidReason
    ) -> Timestamp? {
        guard let value else { return nil }
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

    mutating func readIssuedAt() -> Timestamp? {
        var issuedAt = readTime(attributes.issuedAt, named: HeaderName.issuedAt, otherwise: .issuedAtMalformed)
        if issuedAt == nil, attributes.issuedAt == nil {
            issuedAt = properties.timestamp.map(Timestamp.init(amqp:))
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

    mutating func readReplay() -> (count: Int, acceptsSecondEffect: Bool) {
        guard rules.honoursReplay || queue.honoursReplay else { return (0, false) }
        var count = 0
        if let value = attributes.replay {
            let maximum = DeadLetter.maximumReplays
            if let number = value.integer ?? value.text.flatMap({ Int64($0) }), (0...Int64(maximum)).contains(number) {
                count = Int(number)
            } else {
                refuse(CommandError(.replayMalformed, "Replay must be a count from 0 to \(maximum)"))
            }
        }
        var accepts = false
        if let value = attributes.acceptDuplicate {
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
}
