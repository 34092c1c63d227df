// Deletes of the worker's own: one that clears a conversation before a route is made again, and one that clears nothing.

extension RouteCommand {
    /// A `delete` of the same conversation under a RequestId of its own, derived from this one's, so that Salesforce's
    /// records tell the two apart and a repetition is recognised as the same.
    public var clearingItsConversation: RouteCommand {
        var name = FramedFields()
        name.append("clear-then-route")
        name.append(key.org.description)
        name.append(key.request.description)
        var writer = JSONWriter(capacity: 96)
        writer.object { $0.field("conversationIdentifier", conversation) }
        var clearing = self
        clearing.key = CommandKey(
            org: key.org, kind: .delete, request: RequestID(bytes: UUIDv5.bytes(name: name.bytes)))
        clearing.contextType = nil
        clearing.routingType = nil
        clearing.payload = writer.bytes
        return clearing
    }

    /// A `delete` of a conversation that nobody has: a real call with token and context, without effect.
    public static func probe(
        of org: OrgID, context: String, using generator: inout some RandomNumberGenerator
    ) -> RouteCommand {
        let conversation = RequestID.random(using: &generator).description
        return RouteCommand(
            key: CommandKey(org: org, kind: .delete, request: .random(using: &generator)), context: context,
            conversation: conversation, payload: Array("{\"conversationIdentifier\":\"\(conversation)\"}".utf8),
            fingerprint: Fingerprint(bytes: Array(repeating: 0, count: 32)))
    }
}
