"""What the tests of both exports share."""

import pytest


@pytest.fixture(scope='session')
def weights(tmp_path_factory):
    """Weights of two small networks: of three borders and a stem of 2, of two and none."""
    from pumba_pipe.network.unet import NetworkConfig, UNet
    from pumba_pipe.network.weights import Stage, save_weights
    from pumba_pipe.training.set_up import initialize

    stages = {}
    for seed, (name, config) in enumerate(
        {
            'coarse': NetworkConfig((4, 8, 8)),
            'fine': NetworkConfig((4, 8), stem=1, borders=2),
        }.items()
    ):
        network = UNet(config)
        initialize(network, seed)
        stages[name] = Stage(network, 16)
    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_weights(stages, {'training_data': 'made heads', 'licence': 'Apache-2.0'}, path)
    return path
