//! Generates the client and the server of examples/grpc.rs from a service that is described here, without
//! protoc.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type("crate::Job")
            .output_type("crate::Job")
            .codec_path("tonic_prost::ProstCodec")
    };
    let service = Service::builder()
        .name("Jobs")
        .package("demo")
        .method(method("submit", "Submit").build())
        .method(method("submit_all", "SubmitAll").client_streaming().build())
        .method(method("watch", "Watch").server_streaming().build())
        .build();
    Builder::new().compile(&[service]);
}
