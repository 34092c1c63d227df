// What a message says about its command apart from the payload, before it is judged: from plain headers, or from the
// attributes of a CloudEvent.

import AMQPMessage

/// Values by what they are for. Those of a CloudEvent go by other names and fill the same places.
struct CommandAttributes {
    var command: FieldValue?
    /// CloudEvents only, as the next two.
    var eventType: FieldValue?
    var specVersion: FieldValue?
    var dataContentType: FieldValue?
    var request: FieldValue?
    var org: FieldValue?
    var context: FieldValue?
    var contextType: FieldValue?
    var issuedAt: FieldValue?
    var deadline: FieldValue?
    var traceparent: FieldValue?
    var tracestate: FieldValue?
    /// Plain headers only, as the next: they belong to a replay, not to the command.
    var replay: FieldValue?
    var acceptDuplicate: FieldValue?

    /// Takes the value of a plain header, unless an earlier header had it or it is none of ours.
    mutating func take(header name: String, _ value: FieldValue) {
        // By length first: most headers of most messages end here without a comparison.
        switch name.utf8.count {
        case 5: if name.isSame(as: HeaderName.orgID) { org = org ?? value }
        case 6: if name.isSame(as: HeaderName.replay) { replay = replay ?? value }
        case 7: if name.isSame(as: HeaderName.command) { command = command ?? value }
        case 8:
            if name.isSame(as: HeaderName.issuedAt) { issuedAt = issuedAt ?? value }
            if name.isSame(as: HeaderName.deadline) { deadline = deadline ?? value }
        case 9: if name.isSame(as: HeaderName.requestID) { request = request ?? value }
        case 10: if name.isSame(as: HeaderName.tracestate) { tracestate = tracestate ?? value }
        case 11: if name.isSame(as: HeaderName.traceparent) { traceparent = traceparent ?? value }
        case 16: if name.isSame(as: HeaderName.acceptDuplicate) { acceptDuplicate = acceptDuplicate ?? value }
        case 20: if name.isSame(as: HeaderName.context) { context = context ?? value }
        case 24: if name.isSame(as: HeaderName.contextType) { contextType = contextType ?? value }
        default: break
        }
    }

    /// Takes from an event what no plain header says.
    mutating func fill(from event: CommandAttributes) {
        eventType = event.eventType
        request = request ?? event.request
        org = org ?? event.org
        context = context ?? event.context
        contextType = contextType ?? event.contextType
        issuedAt = issuedAt ?? event.issuedAt
        deadline = deadline ?? event.deadline
        traceparent = traceparent ?? event.traceparent
        tracestate = tracestate ?? event.tracestate
    }

    /// Takes the value of a CloudEvents attribute or extension; names are lower case (CloudEvents 1.0, §3.1).
    mutating func take(eventAttribute name: some StringProtocol, _ value: FieldValue) {
        switch name.lowercased() {
        case "type": eventType = eventType ?? value
        case "id": request = request ?? value
        case "time": issuedAt = issuedAt ?? value
        case "specversion": specVersion = specVersion ?? value
        case "datacontenttype": dataContentType = dataContentType ?? value
        case "orgid": org = org ?? value
        case "authorizationcontext": context = context ?? value
        case "authorizationcontexttype": contextType = contextType ?? value
        case "deadline": deadline = deadline ?? value
        case "traceparent": traceparent = traceparent ?? value
        case "tracestate": tracestate = tracestate ?? value
        default: break
        }
    }
}

/// The headers of one message, sorted in one pass.
struct CommandHeaders {
    var plain = CommandAttributes()
    /// Where there is a header `cloudEvents_…` or `cloudEvents:…`: the attributes of an event in binary form.
    var event: CommandAttributes?

    init(_ table: FieldTable) {
        for field in table.fields {
            // A value that says nothing is as good as no header.
            if case .void = field.value { continue }
            if field.key.utf8.count > 12, field.key.isEventAttribute {
                var attributes = event ?? CommandAttributes()
                attributes.take(eventAttribute: field.key.dropFirst(12), field.value)
                event = attributes
            } else {
                plain.take(header: field.key, field.value)
            }
        }
    }
}

extension String {
    /// Equal but for the letter case of ASCII.
    func isSame(as other: String) -> Bool {
        // Most come spelled as they are documented.
        if self == other { return true }
        return utf8.count == other.utf8.count
            && zip(utf8, other.utf8).allSatisfy { $0.lowercasedASCII == $1.lowercasedASCII }
    }

    /// Whether it starts with `cloudEvents_` or `cloudEvents:`: twelve ASCII characters either way.
    fileprivate var isEventAttribute: Bool {
        var characters = utf8.makeIterator()
        for expected in "cloudevents".utf8 {
            guard let character = characters.next(), character.lowercasedASCII == expected else { return false }
        }
        let mark = characters.next()
        return mark == UInt8(ascii: "_") || mark == UInt8(ascii: ":")
    }

    /// Whether it can stand in an HTTP header as it is: visible ASCII, with spaces inside only (RFC 9110 §5.5). Not so an
    /// empty one.
    package var isHeaderSafe: Bool {
        guard let first = utf8.first, let last = utf8.last, first != 0x20, last != 0x20 else { return false }
        return allBytes { (0x20...0x7E).contains($0) }
    }

    /// For messages: in quotes, cut after 64 characters, nothing in it that could act on a terminal or a log.
    var quoted: String {
        var output = "\""
        for scalar in unicodeScalars.prefix(64) {
            switch scalar.value {
            case 0x20, 0x21, 0x23...0x7E, 0xA1...0xD7FF, 0xE000...0xFDCF: output.unicodeScalars.append(scalar)
            default: output += "?"
            }
        }
        return output + (unicodeScalars.dropFirst(64).isEmpty ? "\"" : "…\"")
    }
}

extension UInt8 {
    var lowercasedASCII: UInt8 { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) ? self | 0x20 : self }
}

extension FieldValue {
    /// Its text, if it is one: a string, or bytes that are valid UTF-8.
    var text: String? {
        switch self {
        case .string(let text): text
        case .bytes(let bytes): String(validating: bytes, as: UTF8.self)
        default: nil
        }
    }

    /// Its value, if it is an integer of any width; what does not fit is the largest that does.
    var integer: Int64? {
        switch self {
        case .int8(let value): Int64(value)
        case .uint8(let value): Int64(value)
        case .int16(let value): Int64(value)
        case .uint16(let value): Int64(value)
        case .int32(let value): Int64(value)
        case .uint32(let value): Int64(value)
        case .int64(let value): value
        case .uint64(let value): Int64(clamping: value)
        default: nil
        }
    }

    /// For messages.
    var typeName: String {
        switch self {
        case .void: "void"
        case .boolean: "boolean"
        case .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .uint64: "integer"
        case .float, .double: "floating-point number"
        case .decimal: "decimal"
        case .string: "string"
        case .malformedString: "string that is not valid UTF-8"
        case .bytes: "byte array"
        case .timestamp: "timestamp"
        case .array: "array"
        case .table: "table"
        }
    }
}
