// A CloudEvent in structured form: an envelope around the payload, both JSON.
//
// CloudEvents binds AMQP 1.0 only; for AMQP 0-9-1 the content type and the header prefix are this project's convention.

import AMQPMessage

/// The media type of a structured event, and what is too like it to be taken for a plain payload.
enum EventContentType {
    case structured
    /// A batch, or a format that is not JSON.
    case unsupported

    /// `nil` for everything that is not `application/cloudevents…`.
    init?(_ contentType: String?) {
        guard let contentType, contentType.utf8.count >= 23 else { return nil }
        let mediaType = contentType.mediaType
        if mediaType == "application/cloudevents+json" {
            self = .structured
        } else if mediaType.hasPrefix("application/cloudevents") {
            self = .unsupported
        } else {
            return nil
        }
    }
}

/// An envelope, opened.
struct StructuredEvent {
    var attributes = CommandAttributes()
    /// The bytes of `data` as they stand, or of `data_base64` decoded; empty where there is neither.
    var payload: [UInt8] = []

    /// Throws a sentence for people.
    init(_ document: JSONDocument) throws(EventProblem) {
        let root = document.root
        guard root.kind == .object else { throw EventProblem("the event is no JSON object") }
        root.forEachMember { name, value in
            attributes.take(eventAttribute: name, value)
            return true
        }
        switch (root["data"], root["data_base64"]) {
        case (nil, nil): break
        case (.some, .some): throw EventProblem("the event has both data and data_base64; leave one out")
        case (let data?, nil): payload = Array(data.bytes)
        case (nil, let data?):
            guard let text = data.string, let bytes = Base64.decode(text) else {
                throw EventProblem("data_base64 of the event is not base64")
            }
            payload = bytes
        }
    }
}

/// What is wrong with an event, in words.
struct EventProblem: Error {
    var message: String

    init(_ message: String) {
        self.message = message
    }
}

extension CommandAttributes {
    fileprivate mutating func take(eventAttribute name: String, _ value: JSONValue) {
        switch value.kind {
        case .string: take(eventAttribute: name, FieldValue.string(value.string ?? ""))
        case .boolean: take(eventAttribute: name, FieldValue.boolean(value.boolean ?? false))
        case .number:
            take(eventAttribute: name, value.integer.map { .int64(Int64($0)) } ?? .double(0))
        case .array: take(eventAttribute: name, FieldValue.array([]))
        case .object: take(eventAttribute: name, FieldValue.table(FieldTable()))
        // CloudEvents 1.0 JSON format §2.2: an attribute that is null is as good as absent.
        case .null: break
        }
    }

    /// What an event of either form must say of itself.
    func checkEvent() throws(EventProblem) {
        guard let version = specVersion?.text else {
            throw EventProblem("the event has no specversion; only CloudEvents 1.0 is understood")
        }
        guard version == "1.0" else {
            throw EventProblem("specversion of the event is \(version.quoted); only 1.0 is understood")
        }
        if let dataContentType {
            guard let mediaType = dataContentType.text?.mediaType,
                mediaType == "application/json" || mediaType == "text/json" || mediaType.hasSuffix("+json")
            else { throw EventProblem("datacontenttype of the event must be application/json") }
        }
    }
}

extension String {
    /// A content type without its parameters, in lower case.
    fileprivate var mediaType: String {
        let end = utf8.firstIndex(of: UInt8(ascii: ";")) ?? endIndex
        return self[..<end].filter { $0 != " " && $0 != "\t" }.lowercased()
    }
}
