// Dead letters as JSON: what `list` and `show` print for programs, and the lines of an export. Pure.

import AMQPMessage
import Foundation
public import RoutingContract

/// JSON of dead letters, with sorted keys and without line breaks.
public enum DeadLetterJSON {
    /// What is known of it, without its content.
    public static func summary(_ letter: DeadLetter, _ names: OrgNames) -> [String: Any] {
        var object: [String: Any] = ["replay": letter.replay, "bodyBytes": letter.bodyBytes]
        object["requestId"] = letter.requestID
        object["org"] = letter.org.map(names.shown)
        object["orgId"] = letter.org.flatMap(names.id)?.description
        object["command"] = letter.command
        object["outcome"] = letter.outcome
        object["reason"] = letter.reason
        object["code"] = letter.code
        object["error"] = letter.error
        object["httpStatus"] = letter.httpStatus
        object["attempts"] = letter.attempts
        object["worker"] = letter.worker
        object["originQueue"] = letter.originQueue
        object["receivedAt"] = letter.receivedAt?.rfc3339
        object["deadLetteredAt"] = letter.deadLetteredAt?.rfc3339
        return object
    }

    /// All of it: beside the summary the properties, headers and body. A body that is no UTF-8 is `bodyBase64`.
    public static func whole(_ letter: DeadLetter, _ names: OrgNames) -> [String: Any] {
        var object = summary(letter, names)
        object["properties"] = properties(letter.message.properties)
        object["headers"] = value(.table(letter.message.properties.headers))
        object["isComplete"] = letter.isComplete
        if let text = String(validating: letter.message.body, as: UTF8.self) {
            object["body"] = text
        } else {
            object["bodyBase64"] = Data(letter.message.body).base64EncodedString()
        }
        return object
    }

    public static func text(_ object: [String: Any], pretty: Bool = false) -> String {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        // Made of texts, numbers and tables of them alone, which can always be written.
        let data = try? JSONSerialization.data(
            withJSONObject: object, options: pretty ? options.union(.prettyPrinted) : options)
        return String(decoding: data ?? Data(), as: UTF8.self)
    }

    private static func properties(_ properties: MessageProperties) -> [String: Any] {
        var object: [String: Any] = [:]
        object["contentType"] = properties.contentType
        object["contentEncoding"] = properties.contentEncoding
        object["deliveryMode"] = properties.deliveryMode.map { Int($0) }
        object["priority"] = properties.priority.map { Int($0) }
        object["correlationId"] = properties.correlationID
        object["replyTo"] = properties.replyTo
        object["expiration"] = properties.expiration
        object["messageId"] = properties.messageID
        object["timestamp"] = properties.timestamp
        object["type"] = properties.type
        object["userId"] = properties.userID
        object["appId"] = properties.appID
        object["clusterId"] = properties.clusterID
        return object
    }

    /// A repeated key keeps its first value, as readers of tables take it. JSON knows no infinity, so that is a text.
    private static func value(_ value: FieldValue) -> Any {
        switch value {
        case .void: NSNull()
        case .boolean(let flag): flag
        case .int8(let number): Int(number)
        case .uint8(let number): Int(number)
        case .int16(let number): Int(number)
        case .uint16(let number): Int(number)
        case .int32(let number): Int(number)
        case .uint32(let number): Int(number)
        case .int64(let number): Int(number)
        case .uint64(let number): number
        case .float(let number): number.isFinite ? Double(number) : "\(number)"
        case .double(let number): number.isFinite ? number : "\(number)"
        case .decimal(let scale, let number): "\(number)e-\(scale)"
        case .string(let text): text
        case .malformedString(let bytes), .bytes(let bytes): ["base64": Data(bytes).base64EncodedString()]
        case .timestamp(let seconds):
            Timestamp(milliseconds: Int64(clamping: seconds).multipliedOrLargest(by: 1000)).rfc3339
        case .array(let values): values.map { Self.value($0) }
        case .table(let table):
            Dictionary(table.fields.map { ($0.key, Self.value($0.value)) }, uniquingKeysWith: { first, _ in first })
        }
    }
}

extension Int64 {
    fileprivate func multipliedOrLargest(by factor: Int64) -> Int64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }
}
