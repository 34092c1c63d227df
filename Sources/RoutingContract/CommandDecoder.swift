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
