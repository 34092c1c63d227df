// The delete that clears a conversation before a route is made again.

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
}
