// The other port: what people ask of a store. The pipeline has no use for it.

public import RoutingContract

/// Looks into a store, and removes from it what it holds of a person. Costs the hot path nothing but its place in a batch.
public protocol StoreInspection: Sendable {
    /// What is remembered of a command, its history included; `nil` when it was never claimed or is forgotten by now.
    /// A lookup by key, also among millions.
    func find(_ key: CommandKey) async throws(StoreError) -> CommandRecord?

    /// The commands of a conversation, each once. Walks through all that are remembered of the org, step by step between
    /// other operations; what comes in meanwhile may be missed.
    ///
    /// - Parameter progress: told after each step how many were looked at so far.
    func commands(
        of conversation: ConversationKey, progress: (Int) -> Void
    ) async throws(StoreError) -> [CommandKey]

    /// Removes what a command holds of a person, if it is of this conversation: the answer, what was wrong in words, and
    /// whose it is. How it ended stays, so that the RequestId is not called for again.
    func forget(_ key: CommandKey, of conversation: ConversationKey) async throws(StoreError) -> Forgetting

    /// Removes the mark of a conversation. A route that was issued before its delete and comes after this is called for.
    func forgetMark(of conversation: ConversationKey) async throws(StoreError) -> Forgetting
}
