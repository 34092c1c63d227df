// The other port: what people ask of a store. The pipeline has no use for it.

public import RoutingContract

/// Looks into a store. Costs the hot path nothing but its place in a batch.
public protocol StoreInspection: Sendable {
    /// What is remembered of a command, its history included; `nil` when it was never claimed or is forgotten by now.
    /// A lookup by key, also among millions.
    func find(_ key: CommandKey) async throws(StoreError) -> CommandRecord?
}
