# JupyterLab with the lessons and the exercises, for a class on JupyterHub or for one reader: see book/hub.md.
#
#     docker build --tag learning-in-motion .
#     docker run --rm --publish 127.0.0.1:8888:8888 learning-in-motion
#
# repo2docker, Binder and JupyterHub's DockerSpawner read the same file. The network is needed to build, not to run.
FROM python:3.11-slim

# The arguments that repo2docker and Binder give; the user is not root.
ARG NB_USER=student
ARG NB_UID=1000
# Options for pip. PyTorch for Linux comes with CUDA, several GB; PyTorch's install page has the option for the CPU build.
ARG PIP_ARGS=""
ENV USER=${NB_USER} HOME=/home/${NB_USER} SHELL=/bin/bash
RUN useradd --create-home --uid ${NB_UID} --shell ${SHELL} ${NB_USER}

# The package belongs to root: students work in the notebooks, not in what checks them. `hub` is `jupyterhub-singleuser`.
WORKDIR /srv/learning-in-motion
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY companion companion
RUN python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ${PIP_ARGS} -e ".[lab,hub]" \
    && python -m compileall -q companion

COPY scripts/hub/jupyter_server_config.py /etc/jupyter/jupyter_server_config.py
COPY companion/lab_settings/overrides.json /usr/local/share/jupyter/lab/settings/overrides.json
# The solutions, in notebooks/exercises, stay with the instructor.
COPY --chown=${NB_UID} notebooks/*.ipynb /srv/lessons/
COPY --chown=${NB_UID} notebooks/student /srv/lessons/student
RUN chown ${NB_UID} /srv/lessons

USER ${NB_UID}
WORKDIR /srv/lessons
ENV JUPYTER_PREFER_ENV_PATH=1 PYTHONNOUSERSITE=1
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
