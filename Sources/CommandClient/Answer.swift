// An answer as a platform reads it.

public import AMQPMessage
public import RoutingContract

/// An answer of the worker, read from its message.
public struct Answer: Sendable, Hashable {
    public var correlationID: String?
    public var messageID: String?
    public var requestID: String?
    public var org: String?
    public var command: String?
    public var conversation: String?
    public var outcome: Outcome
    public var httpStatus: Int?
    public var errorCode: Int?
    public var errorMessage: String?
    public var reason: String?
    public var attempts: Int
    public var duplicate: Bool
    public var replay: Int
    public var worker: String?
    /// The body as it came.
    public var body: [UInt8]

    /// - Returns: `nil` when the message is no answer of a version that this one reads.
    public init?(_ message: Message) {
        guard let document = try? JSONScanner(maximumDepth: 512).scan(message.body),
            let outcome = document.root["outcome"]?.string.flatMap(Outcome.init(rawValue:))
        else { return nil }
        correlationID = message.properties.correlationID
        messageID = message.properties.messageID
        requestID = document.root["requestId"]?.string
        org = document.root["orgId"]?.string
        command = document.root["command"]?.string
        conversation = document.root["conversationIdentifier"]?.string
        self.outcome = outcome
        httpStatus = document.root["httpStatus"]?.integer
        errorCode = document.root["error"]?["code"]?.integer
        errorMessage = document.root["error"]?["message"]?.string
        reason = document.root["error"]?["reason"]?.string
        attempts = document.root["attempts"]?.integer ?? 0
        duplicate = document.root["duplicate"]?.boolean ?? false
        replay = document.root["replay"]?.integer ?? 0
        worker = document.root["worker"]?.string
        body = message.body
    }
}
